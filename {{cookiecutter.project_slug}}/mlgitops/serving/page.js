"use strict";
let token = ""; // where the server wants one; never stored
const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const SHOWN = 12; // reasons; the rest are one line

const make = (tag, text, name) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
};
const digits = (value, output) =>
  output === "value" ? Number(value.toPrecision(5)).toLocaleString("en", { maximumSignificantDigits: 5 })
    : value.toFixed(3);
const signed = (value, output) => (value < 0 ? "−" : "+") + digits(Math.abs(value), output);

// What is typed at the moment: the select, or the field for another value.
const typed = (control) => {
  const option = control.selectedOptions && control.selectedOptions[0];
  return option && "other" in option.dataset ? document.getElementById(control.id + "-other") : control;
};

class FieldError extends Error {}

const value = (control) => {
  const { type, column } = control.dataset;
  const text = typed(control).value;
  if (!text.trim()) {
    if ("missing" in control.dataset) return null;
    throw new FieldError(`${column} is needed.`);
  }
  if (type === "boolean") return text === "true";
  if (type === "datetime") return text + "Z";
  if (type !== "number" && type !== "integer") return text;
  if (!NUMBER.test(text.trim())) {
    throw new FieldError(`${column} must be a number with a decimal point, such as 12.5.`);
  }
  if (type === "integer" && !Number.isInteger(Number(text))) {
    throw new FieldError(`${column} must be a whole number.`);
  }
  return Number(text);
};

const mark = (control, message) => {
  const line = document.getElementById(control.id + "-error");
  line.textContent = message;
  line.hidden = !message;
  for (const node of [control, typed(control)]) {
    if (message) node.setAttribute("aria-invalid", "true");
    else node.removeAttribute("aria-invalid");
  }
};

const point = (control, message) => {
  mark(control, message);
  const hidden = control.closest("details");
  if (hidden) hidden.open = true;
};

const controls = () => [...document.querySelectorAll("#form [data-column]")];

const read = () => {
  const row = Object.create(null), wrong = [];
  for (const control of controls()) {
    mark(control, "");
    try {
      row[control.dataset.column] = value(control);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      point(control, error.message);
      wrong.push(control);
    }
  }
  return [row, wrong];
};

const problem = (text) => { document.getElementById("problem").textContent = text; };

// A refusal names its column in quotes: it belongs beside that field.
const refused = (sentence) => {
  const text = sentence.replace(/^row 0:? /, "");
  const named = controls().filter((c) => text.includes(`'${c.dataset.column}'`))
    .sort((a, b) => b.dataset.column.length - a.dataset.column.length)[0];
  if (named) {
    point(named, text);
    typed(named).focus();
  }
  problem(text);
};

const headline = (found) => {
  const { prediction, output } = found;
  if (output === "value") return digits(prediction.value, output);
  if (output === "probability") return `Probability ${digits(prediction.probability, output)}`;
  return `${prediction.class === null ? "No decision" : prediction.class}, probability ${digits(found.value, output)}`;
};

const details = (found) => {
  const { prediction, output } = found, lines = [];
  if (output === "probability") {
    const no = prediction.decision === null;
    lines.push(no ? "No decision: both are possible, or neither." : `Decision: ${prediction.decision ? "1 (yes)" : "0 (no)"}`);
  }
  if (output === "probabilities") {
    lines.push(Object.entries(prediction.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 5)
      .map(([name, p]) => `${name} ${digits(p, output)}`).join(" · "));
  }
  if (prediction.interval) lines.push(`Between ${prediction.interval.map((n) => digits(n, output)).join(" and ")}`);
  if (prediction.set) lines.push(`May be: ${prediction.set.join(", ") || "none"}`);
  return lines;
};

const reasonRow = (name, given, amount, widest, output, error) => {
  const row = make("tr"), head = make("th", name), track = make("td", undefined, "track");
  head.scope = "row";
  if (given !== undefined) head.append(make("small", given));
  const number = make("td", signed(amount, output), "number");
  if (error) number.title = `standard error ${error.toPrecision(2)}`;
  const bar = make("span", undefined, amount < 0 ? "minus" : "plus"), box = make("div");
  bar.style.width = `${(50 * Math.abs(amount)) / (widest || 1)}%`;
  box.append(bar);
  track.append(box);
  track.setAttribute("aria-hidden", "true");
  row.append(head, number, track);
  return row;
};

const reasonTable = (found, row) => {
  const table = make("table", undefined, "reasons");
  const parts = Object.entries(found.contributions).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const shown = parts.slice(0, SHOWN), rest = parts.slice(SHOWN);
  const widest = Math.abs(parts[0][1]), errors = new Map(Object.entries(found.standard_errors || {}));
  table.append(make("caption", "What moved it, by column"));
  const body = make("tbody");
  for (const [name, amount] of shown) {
    const given = row[name] === null ? "missing" : String(row[name]).slice(0, 80);
    body.append(reasonRow(name, given, amount, widest, found.output, errors.get(name)));
  }
  if (rest.length) {
    const sum = rest.reduce((total, [, amount]) => total + amount, 0);
    body.append(reasonRow(`${rest.length} other columns`, undefined, sum, widest, found.output));
  }
  table.append(body);
  return table;
};

// Numbers that the contract does not expect: the server predicts, and counts them.
const outside = (row) => controls().filter(({ dataset: { column, min, max } }) =>
  typeof row[column] === "number" && (row[column] < Number(min ?? -Infinity) || row[column] > Number(max ?? Infinity)),
).map((control) => `${control.dataset.column} is outside the contract's range.`);

const say = (text) => { document.getElementById("status").textContent = text; };

const show = (answer, row) => {
  const found = answer.explanations[0], { output } = found;
  const moved = signed(found.value - found.baseline, output);
  const result = document.getElementById("result");
  const exact = found.exact ? "Exact" : "Estimated";
  result.replaceChildren(
    make("h3", "Prediction"),
    make("p", headline(found), "big"),
    ...[...details(found), ...outside(row)].map((line) => make("p", line)),
    make("p", `${answer.reference} get ${digits(found.baseline, output)} on average; this row differs by ${moved}.`),
    reasonTable(found, row),
    make("p", `${exact} Shapley values: how the columns together make this difference, not what causes what. ${found.source}.`, "hint"),
    make("p", "This try was not logged.", "hint"),
  );
  const [first] = Object.entries(found.contributions).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  say(`${headline(found)}, ${moved} against the average; ${first[0]} moved it most, by ${signed(first[1], output)}.`);
  result.scrollIntoView({ block: "nearest" });
};

const ask = (path, options = {}) => fetch(path, {
  ...options,
  headers: { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) },
});

const page = async () => new DOMParser().parseFromString(await (await ask("/")).text(), "text/html");

const refresh = async () => {
  const fresh = (await page()).getElementById("health");
  if (fresh) document.getElementById("health").replaceWith(fresh);
};

const enter = async () => {
  token = document.getElementById("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) token = "";
  const fresh = await page();
  if (!fresh.getElementById("health")) {
    token = "";
    problem("This is not a token of this server.");
    document.getElementById("token").focus();
    return;
  }
  document.title = fresh.title;
  document.querySelector("main").replaceWith(fresh.querySelector("main"));
  document.querySelector("h1").focus();
};

const submit = async () => {
  const [row, wrong] = read();
  problem("");
  say("");
  if (wrong.length) {
    problem(wrong.length === 1 ? "One field needs a change." : `${wrong.length} fields need a change.`);
    typed(wrong[0]).focus();
    return;
  }
  const response = await ask("/explain", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ rows: [row] }),
  });
  const answer = await response.json();
  if (response.ok) show(answer, row);
  else refused(answer.error);
  await refresh();
};

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await (event.target.id === "gate" ? enter() : submit());
  } catch (error) {
    problem(`The server did not answer: ${error.message}`);
  }
  button.removeAttribute("aria-disabled");
});
document.addEventListener("change", ({ target }) => {
  const other = document.getElementById(`${target.id}-other`);
  if (!other) return;
  other.hidden = typed(target) !== other;
  if (!other.hidden) other.focus();
});
document.addEventListener("click", async ({ target }) => {
  if (target.id !== "refresh") return;
  try {
    await refresh();
    document.getElementById("refresh").focus();
  } catch (error) {
    problem(`The server did not answer: ${error.message}`);
  }
});
