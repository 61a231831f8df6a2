"use strict";
// Sort the table of runs by a click on a heading; show and hide runs everywhere by the boxes of the legend.
for (const heading of document.querySelectorAll("th[data-sort] button")) {
  heading.addEventListener("click", () => {
    const cell = heading.parentElement;
    const body = cell.closest("table").tBodies[0];
    const column = Array.from(cell.parentElement.children).indexOf(cell);
    const falling = cell.getAttribute("aria-sort") === "ascending";
    for (const other of cell.parentElement.children) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent.trim();
    const rows = Array.from(body.rows).sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? String(x).localeCompare(String(y)) : x - y;
      return falling ? -order : order;
    });
    body.append(...rows);
  });
}
for (const box of document.querySelectorAll("input[data-run]")) {
  box.addEventListener("change", () => {
    for (const part of document.querySelectorAll(".run-" + box.dataset.run)) part.classList.toggle("hidden", !box.checked);
  });
}
for (const row of document.querySelectorAll("[data-hover]")) {
  const mark = (on) => {
    document.body.classList.toggle("focusing", on);
    for (const part of document.querySelectorAll(".curve.run-" + row.dataset.hover)) part.classList.toggle("lit", on);
  };
  row.addEventListener("mouseenter", () => mark(true));
  row.addEventListener("mouseleave", () => mark(false));
}
