// Reads documents as JSON and prints the first fault of each; "" if there is none.
// The packages check required fields, types and patterns. A field that they never look
// at is unknown to them: a cluster would drop it.
import { readFileSync } from "node:fs";

const PACKAGES = { "argoproj.io": "argo-cd" }; // all other groups are Flux's

function watch(value, path, seen) {
  if (value === null || typeof value !== "object") return value;
  return new Proxy(value, {
    get(target, name) {
      if (typeof name !== "string" || !Object.hasOwn(target, name)) return target[name];
      seen.add(`${path}/${name}`);
      return watch(target[name], `${path}/${name}`, seen);
    },
  });
}

function unknown(value, path, seen) {
  if (value === null || typeof value !== "object") return "";
  for (const name of Object.keys(value)) {
    const inner = `${path}/${name}`;
    if (!seen.has(inner)) return `${inner} is not known`;
    const fault = unknown(value[name], inner, seen);
    if (fault) return fault;
  }
  return "";
}

async function check(document) {
  const [group, version] = document.apiVersion.split("/");
  const name = `@kubernetes-models/${PACKAGES[group] ?? "flux-cd"}`;
  const kinds = await import(`${name}/${group}/${version}/${document.kind}`);
  const seen = new Set();
  try {
    kinds[document.kind].prototype.validate.call(watch(document, "", seen));
  } catch (error) {
    return error.message;
  }
  return unknown({ spec: document.spec }, "", new Set([...seen, "/spec"]));
}

const documents = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(documents.map(check))));
