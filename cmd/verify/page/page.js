"use strict";
// The radio buttons filter without this script. It adds the field for a name,
// and tells how many hosts are left.
(function () {
  const field = document.getElementById("host");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");
  const hosts = document.querySelectorAll("article[data-host]");
  const all = document.querySelectorAll("[data-host]");

  function filter() {
    const wanted = field.value.trim().toLowerCase();
    for (const element of all) {
      element.hidden = !element.dataset.host.toLowerCase().includes(wanted);
    }
    const left = Array.from(hosts).filter((host) => getComputedStyle(host).display !== "none").length;
    shown.value = left === hosts.length ? "" : left + " of " + hosts.length;
    none.hidden = left > 0;
  }

  document.getElementById("search").hidden = false;
  field.addEventListener("input", filter);
  document.addEventListener("change", filter);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== field && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
    } else if (event.key === "Escape" && document.activeElement === field) {
      field.value = "";
      filter();
    }
  });
  filter();
})();
