// Small line charts: as much as is known of the last ten minutes, from zero upwards.

import { el, setText, svg } from "./dom.js";
import { percent, rate, size } from "./words.js";

const LONGEST_S = 600;
const SHORTEST_S = 60;
const WIDTH = 300;
const HEIGHT = 44;
const KINDS = [
  ["Memory", 1, size, 1 << 20],
  ["CPU", 2, percent, 1],
  ["Tasks", 3, (value) => (value === null ? "" : String(Math.round(value))), 2],
  ["Log", 4, rate, 1024],
];

// A scale's end that does not jump about: 1, 2 or 5 times a power of ten (of two, for bytes).
function top(value, least) {
  let step = least;
  for (const factor of [2, 2.5, 2]) if (step < value) step *= factor;
  while (step < value) for (const factor of [2, 2.5, 2]) if (step < value) step *= factor;
  return step;
}

export function makeCharts() {
  let points = []; // [time, memory, cpu, tasks, log]
  const charts = KINDS.map(([name, index, words, least]) => {
    const area = svg("path", { class: "area" });
    const line = svg("path", { class: "curve" });
    const now = el("b", {}, "");
    const most = el("small", {}, "");
    const picture = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": name,
    }, [0.5, HEIGHT / 2, HEIGHT - 0.5].map((y) => svg("line", { class: "rule", x1: 0, x2: WIDTH, y1: y, y2: y })), area, line);
    const element = el("figure", { class: "chart" },
      el("figcaption", {}, el("span", {}, name), now, most), picture);
    return { name, index, words, least, area, line, now, most, picture, element };
  });

  const period = el("p", { class: "period quiet" });

  function draw() {
    if (!points.length) return;
    const end = points[points.length - 1][0];
    const wide = Math.min(LONGEST_S, Math.max(SHORTEST_S, end - points[0][0]));
    const told = wide < 90 ? "minute" : `${Math.round(wide / 60)} minutes`;
    setText(period, `The last ${told}; each scale begins at 0.`);
    for (const chart of charts) {
      const known = points.map((point) => point[chart.index]).filter((value) => value !== null);
      chart.element.hidden = !known.length;
      if (!known.length) continue;
      const most = Math.max(...known);
      const scale = top(most, chart.least);
      let curve = "";
      let area = "";
      let begun = null;
      let last = null;
      for (const point of points) {
        const value = point[chart.index];
        const x = (WIDTH * (point[0] - end + wide)) / wide;
        if (value === null || x < 0) {
          if (begun !== null) area += `L${last} ${HEIGHT}L${begun} ${HEIGHT}Z`;
          begun = null;
          continue;
        }
        const y = 1 + (HEIGHT - 2) * (1 - value / scale);
        const step = `${begun === null ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
        curve += step;
        area += step;
        if (begun === null) begun = x.toFixed(1);
        last = x.toFixed(1);
      }
      if (begun !== null) area += `L${last} ${HEIGHT}L${begun} ${HEIGHT}Z`;
      chart.line.setAttribute("d", curve);
      chart.area.setAttribute("d", area);
      const now = points[points.length - 1][chart.index];
      setText(chart.now, chart.words(now) || "–");
      setText(chart.most, `most ${chart.words(most)}`);
      chart.picture.setAttribute("aria-label",
        `${chart.name}: now ${chart.words(now) || "unknown"}, between ${chart.words(Math.min(...known))} and ${chart.words(most)} in the last ${told}`);
    }
  }

  return {
    element: el("section", { class: "charts", "aria-label": "Figures over time" },
      charts.map((chart) => chart.element), period),
    take(message) {
      if (!message.figures) return;
      const seen = points.length ? points[points.length - 1][0] : 0;
      const fresh = message.figures.filter((point) => point[0] > seen);
      points = points.concat(fresh);
      const oldest = points.length ? points[points.length - 1][0] - LONGEST_S : 0;
      points = points.filter((point) => point[0] >= oldest);
      draw();
    },
  };
}
