"use strict";
// Tables can be sorted by a column; what has no number or text comes last.
function order(a, b, rising) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const numbers = Number(a.replaceAll(",", "")) - Number(b.replaceAll(",", ""));
  return (Number.isNaN(numbers) ? a.localeCompare(b, undefined, { numeric: true }) : numbers) * (rising ? 1 : -1);
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.textContent.trim() === "") return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const rising = before === null ? !head.classList.contains("number") : before === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => order(key(a), key(b), rising)));
    });
  });
}
