"use strict";
// Chooses rows of the page's table by the fields above it. Nothing is loaded or sent.
const filters = document.getElementById("filters");
if (filters) {
  const search = document.getElementById("search");
  const date = document.getElementById("date");
  const selects = [...filters.querySelectorAll("select")];
  const table = date ? ".thresholds" : ".fleet";
  const rows = [...document.querySelectorAll(table + " tbody tr")];
  const shown = (row) => {
    if (date && date.value) {
      const length = date.value.length;
      const began = row.dataset.began.slice(0, length);
      const until = row.dataset.until.slice(0, length);
      if (!(began <= date.value && date.value <= until)) return false;
    }
    if (selects.some((s) => s.value && row.dataset[s.dataset.key] !== s.value)) return false;
    const words = search ? search.value.toLowerCase() : "";
    return row.textContent.toLowerCase().includes(words);
  };
  const choose = () => {
    for (const row of rows) row.hidden = !shown(row);
    const count = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = count + " of " + rows.length;
  };
  filters.addEventListener("input", choose);
  filters.hidden = false;
  choose();
}
