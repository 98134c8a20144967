for (const table of document.querySelectorAll("table.sortable")) {
  const key = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  table.tHead.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = (a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
        return down ? -order : order;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}

// A link to a claim opens what it lies in.
const show = () => {
  const aim = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = aim?.closest("details:not([open])"); box; box = box.parentElement.closest("details:not([open])")) box.open = true;
  aim?.scrollIntoView();
};
addEventListener("hashchange", show);
if (location.hash) show();

// What is folded away is printed too, and folded again afterwards.
const folded = [];
addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll("details:not([open])")) folded.push(box);
  for (const box of folded) box.open = true;
});
addEventListener("afterprint", () => {
  for (const box of folded.splice(0)) box.open = false;
});
