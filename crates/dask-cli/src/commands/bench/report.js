// The page is complete without this: it only writes the time of the run in the reader's own way.
for (const time of document.querySelectorAll("time[data-unix]")) {
  time.textContent = new Date(Number(time.dataset.unix) * 1000).toLocaleString();
}
document.documentElement.dataset.ready = JSON.parse(document.getElementById("data").textContent).schema;
