// The search: every word must stand in an entry; the arrow keys walk through what is found.
const search = document.getElementById("search"), found = document.getElementById("found"), MOST = 20;
function look() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length ? ENTRIES.filter(([kind, title, , more]) => words.every((word) => `${kind} ${title} ${more}`.toLowerCase().includes(word))) : [];
  found.replaceChildren(...hits.slice(0, MOST).map(([kind, title, href, more]) => {
    const line = document.createElement("li"), link = document.createElement("a"), about = document.createElement("span");
    link.href = document.body.dataset.up + href; link.textContent = title + " "; about.textContent = `${kind} ${more}`;
    link.append(about); line.append(link);
    return line;
  }));
  if (words.length && hits.length !== Math.min(hits.length, MOST) || words.length && !hits.length) {
    const line = document.createElement("li"), told = document.createElement("a");
    told.textContent = hits.length ? `${hits.length - MOST} more` : "nothing found";
    line.append(told); found.append(line);
  }
  found.hidden = !words.length;
  search.setAttribute("aria-expanded", String(!found.hidden));
}
search.addEventListener("input", look);
document.querySelector(".search").addEventListener("keydown", (event) => {
  const links = [...found.querySelectorAll("a[href]")], at = links.indexOf(document.activeElement);
  if (event.key === "Escape") { search.value = ""; look(); search.focus(); }
  else if (event.key === "ArrowDown") (links[at + 1] ?? links[0])?.focus();
  else if (event.key === "ArrowUp") (links[at - 1] ?? search).focus();
  else if (event.key === "Enter" && at < 0) links[0]?.click();
  else return;
  event.preventDefault();
});
document.addEventListener("click", (event) => { if (!event.target.closest(".search")) found.hidden = true; });
