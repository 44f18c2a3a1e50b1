"use strict";
// Draws charts when they come into view, follows light and dark, marks the rail.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const charts = [...document.querySelectorAll("pre.mermaid")];
  let library, queue = Promise.resolve();

  const load = () => library ??= new Promise((loaded, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: "mermaid.js", onload: loaded, onerror: failed });
    document.head.append(script);
  });

  const draw = async (source) => {
    await load();
    mermaid.initialize({
      startOnLoad: false, securityLevel: "strict", suppressErrorRendering: true,
      theme: dark.matches ? "dark" : "default",
    });
    const name = `chart-${charts.indexOf(source)}`;
    const { svg } = await mermaid.render(name, source.textContent);
    const chart = source.previousElementSibling?.matches(".chart")
      ? source.previousElementSibling : document.createElement("div");
    Object.assign(chart, { className: "chart", innerHTML: svg, tabIndex: 0 });
    const drawing = chart.querySelector("svg");
    drawing.style.minWidth = `min(${drawing.style.maxWidth || "0px"}, 440px)`;
    chart.setAttribute("role", "group");
    chart.setAttribute("aria-label", "Chart");
    source.before(chart);
    source.dataset.state = "drawn";
  };
  const later = (source) => {
    queue = queue.then(() => draw(source)).catch((problem) => {
      source.dataset.state = "failed";
      source.title = `This chart could not be drawn: ${problem?.message ?? problem}`;
    });
  };

  const near = new IntersectionObserver((seen) => seen.forEach((entry) => {
    if (entry.isIntersecting) { near.unobserve(entry.target); later(entry.target); }
  }), { rootMargin: "400px" });
  charts.forEach((source) => near.observe(source));
  dark.addEventListener("change", () =>
    charts.filter((source) => source.dataset.state === "drawn").forEach(later));

  const rail = document.querySelector(".rail");
  const links = new Map([...document.querySelectorAll(".rail a")].map(
    (link) => [link.getAttribute("href").slice(1), link]));
  const mark = (link) => {
    rail.querySelector("[aria-current]")?.removeAttribute("aria-current");
    link.setAttribute("aria-current", "step");
    const across = rail.scrollWidth > rail.clientWidth;
    rail.scrollTo(across
      ? { left: link.offsetLeft - 24 }
      : { top: link.offsetTop - rail.clientHeight / 2 });
  };
  const passing = new IntersectionObserver((seen) => seen.forEach((entry) => {
    const link = links.get(entry.target.id);
    if (entry.isIntersecting && link) mark(link);
  }), { rootMargin: "-12% 0px -80% 0px" });
  document.querySelectorAll(".step[id]").forEach((step) => passing.observe(step));
})();
