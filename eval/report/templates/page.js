"use strict";
// A click on a column's header sorts the table: upwards, downwards, then as it was.
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function key(row, column) {
  return row.cells[column].dataset.sort;
}

function compared(one, other, column, numbers, way) {
  const a = key(one, column);
  const b = key(other, column);
  if (a === undefined || b === undefined) {
    return (a === undefined) - (b === undefined); // what is missing stands last, whichever way
  }
  return way * (numbers ? Number(a) - Number(b) : COLLATOR.compare(a, b));
}

function sort(header) {
  const table = header.closest("table");
  const body = table.tBodies[0];
  const column = header.cellIndex;
  const order = NEXT[header.getAttribute("aria-sort") || "none"];
  for (const other of table.tHead.rows[0].cells) {
    other.removeAttribute("aria-sort");
  }
  const rows = [...body.rows].sort((a, b) => a.dataset.row - b.dataset.row);
  if (order !== "none") {
    header.setAttribute("aria-sort", order);
    const way = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => compared(a, b, column, header.classList.contains("num"), way));
  }
  body.append(...rows);
}

for (const header of document.querySelectorAll("thead th")) {
  const table = header.closest("table");
  if (table.tBodies[0].rows.length < 2) {
    continue; // nothing to sort, so no button
  }
  const button = document.createElement("button");
  button.type = "button";
  button.append(header.firstChild); // its name; a smaller line below stays outside
  header.prepend(button);
  button.addEventListener("click", () => sort(header));
}
for (const body of document.querySelectorAll("tbody")) {
  [...body.rows].forEach((row, place) => { row.dataset.row = place; });
}

// A print shows what is folded away, but for what is of use on a screen alone; afterwards the page is as it was.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open]):not(.screen)")];
  opened.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));
