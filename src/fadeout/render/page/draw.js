(function () {
  "use strict";
  var charts = JSON.parse(document.getElementById("charts").textContent);
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function draw() {
    var ink = dark.matches ? "#c5ccd4" : "#444b54", line = dark.matches ? "#363c44" : "#d9dde2";
    var config = {
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line },
      legend: { labelColor: ink, titleColor: ink }
    };
    Object.keys(charts).forEach(function (id) {
      // ast: expressions are interpreted, so that the page needs no eval
      vegaEmbed(document.getElementById(id), charts[id],
        { mode: "vega-lite", actions: false, renderer: "svg", ast: true, config: config,
          tooltip: { theme: dark.matches ? "dark" : "light" } })
        .catch(function (error) { document.getElementById(id).textContent = "This chart could not be drawn: " + error; });
    });
  }
  draw();
  dark.addEventListener("change", draw);
  document.querySelectorAll("details").forEach(function (part) {
    part.addEventListener("toggle", function () { window.dispatchEvent(new Event("resize")); });
  });
}());
