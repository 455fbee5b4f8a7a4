"use strict";
// Tables: the headings sort, a third click restores the order, and a field filters the rows.
for (const table of document.querySelectorAll(".table > table:not(.source)")) {
  const body = table.tBodies[0], first = [...body.rows];
  for (const button of table.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.parentElement, at = head.cellIndex, was = head.getAttribute("aria-sort");
      for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
      if (was === "descending") return body.append(...first);
      head.setAttribute("aria-sort", was ? "descending" : "ascending");
      const down = was ? -1 : 1, value = (line) => line.cells[at].dataset.key ?? "", text = (line) => line.cells[at].textContent;
      const numbers = first.some((line) => value(line) !== "");
      body.append(...[...first].sort((a, b) => numbers
        ? ((value(a) === "") - (value(b) === "")) || down * (Number(value(a)) - Number(value(b)))
        : down * text(a).localeCompare(text(b), "en", { numeric: true })));
    });
  }
  if (first.length < 6) continue;
  const line = document.createElement("div"), field = document.createElement("input"), told = document.createElement("span");
  line.className = "filter"; told.className = "soft"; told.setAttribute("role", "status");
  field.type = "search"; field.placeholder = "filter rows"; field.setAttribute("aria-label", "filter: " + table.parentElement.getAttribute("aria-label"));
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase().split(/\s+/);
    for (const row of first) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
    told.textContent = field.value ? `${first.filter((row) => !row.hidden).length} of ${first.length} rows` : "";
  });
  line.append(field, told);
  table.parentElement.before(line);
}
// A link into something folded unfolds it.
function opened() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!found) return;
  for (let at = found; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  found.scrollIntoView();
  const heading = found.matches("details") ? found.firstElementChild : null;
  heading?.focus({ preventScroll: true });
}
addEventListener("hashchange", opened);
for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => { if (link.hash === location.hash) opened(); });
// Figures: the marks of a version show its figures, and lead to its section.
const tip = document.getElementById("tip");
addEventListener("resize", () => { if (tip) tip.hidden = true; });
for (const figure of document.querySelectorAll(".points")) {
  const svg = figure.querySelector("svg"), marks = [];
  for (const mark of svg.querySelectorAll("g[id]")) {
    const [, kind, row, level] = mark.id.match(/\.(progress|roofline)-(\d+)(-\w+)?$/) ?? [];
    const section = row && document.querySelector(`.version[data-row="${row}"]`);
    if (!section) continue;
    mark.dataset.row = row;
    const box = mark.getBBox(), wide = kind === "progress", hit = document.createElementNS(svg.namespaceURI, "rect");
    const side = wide ? 0 : 7, place = { x: box.x - side, y: box.y - (wide ? 3 : side), width: box.width + 2 * side, height: box.height + 2 * (wide ? 3 : side) };
    if (wide) Object.assign(place, { x: 2, width: svg.viewBox.baseVal.width - 4 });
    for (const [name, value] of Object.entries(place)) hit.setAttribute(name, value);
    hit.setAttribute("class", "hit"); hit.setAttribute("rx", 2);
    mark.append(hit);
    const name = section.querySelector("h3").textContent;
    const show = () => {
      const title = document.createElement("strong");
      title.textContent = section.querySelector("summary").textContent;
      tip.replaceChildren(title, ...[...section.querySelector(".facts").children].map((part) => part.cloneNode(true)));
      for (const one of tip.querySelectorAll(".filter")) one.remove();
      for (const one of tip.querySelectorAll("[tabindex], button")) one.removeAttribute("tabindex"), one.tagName === "BUTTON" && one.replaceWith(one.textContent);
      tip.style.left = tip.style.top = "0"; tip.hidden = false;
      const room = document.documentElement.clientWidth, at = hit.getBoundingClientRect();
      const left = Math.min(wide ? room / 2 : at.right + 8, room - tip.offsetWidth - 8);
      const high = tip.offsetHeight, under = at.bottom + 8, over = at.top - high - 8;
      const top = under + high < innerHeight ? under : over > 0 ? over : Math.max(6, innerHeight - high - 6);
      tip.style.left = `${scrollX + Math.max(6, left)}px`;
      tip.style.top = `${scrollY + top}px`;
    };
    const hide = () => { tip.hidden = true; };
    const open = () => { hide(); if (location.hash === "#" + section.id) opened(); else location.hash = section.id; };
    mark.addEventListener("pointerenter", show); mark.addEventListener("pointerleave", hide);
    mark.addEventListener("focus", show); mark.addEventListener("blur", hide);
    mark.addEventListener("click", open);
    if (level) continue;
    mark.setAttribute("role", "link"); mark.setAttribute("aria-describedby", "tip");
    mark.setAttribute("aria-label", `${name}: open its section`);
    marks.push([Number(row), mark]);
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (event.key === "Enter" || event.key === " ") open();
      else if (event.key === "Escape") hide();
      else if (step) {
        const order = marks.map(([, one]) => one), next = order[(order.indexOf(mark) + step + order.length) % order.length];
        mark.setAttribute("tabindex", -1); next.setAttribute("tabindex", 0); next.focus();
      } else return;
      event.preventDefault();
    });
  }
  marks.sort(([a], [b]) => a - b).forEach(([, mark], place) => mark.setAttribute("tabindex", place ? -1 : 0));
}
if (location.hash) opened();
