// Line and bar charts over time as inline SVG, with axes, units, and the same figures as a table.

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const EDGE = { top: 22, right: 10, bottom: 24, left: 46 };
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

export function element(name, fields = {}, ...children) {
  return filled(document.createElement(name), fields, children);
}

function drawn(name, fields = {}, ...children) {
  return filled(document.createElementNS(SPACE, name), fields, children);
}

function filled(made, fields, children) {
  for (const [key, value] of Object.entries(fields)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// 1, 2 or 5 times a power of ten, so that about four of them reach the top
function ticks(top) {
  const rough = top / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const count = Math.ceil(top / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, number) => number * step);
}

// A chart is { title, unit, tableUnit, least, summary, began, step, series: [{ name, style, dash, bars, values }],
// text: value → text, rows: [[time, …]] }; times are in seconds, values may be null.
export function draw(figure, chart) {
  if (!figure.firstChild) prepare(figure, chart);
  const [, , picture, details] = figure.children;
  const width = Math.max(240, Math.round(figure.clientWidth - 26));
  picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  picture.replaceChildren(...contents(chart, width, `${figure.id}-title`, `${figure.id}-desc`));
  if (details.open) fill(details.querySelector("tbody"), chart);
  details.ontoggle = () => fill(details.querySelector("tbody"), chart);
}

function prepare(figure, chart) {
  const head = element("tr", {}, element("th", { scope: "col" }, "Time"));
  const legend = element("ul", { class: "legend note" });
  for (const line of chart.series) {
    head.append(element("th", { scope: "col", class: "number" }, `${line.name} (${chart.tableUnit})`));
    const sample = line.bars
      ? drawn("rect", { width: 24, height: 12, class: line.style })
      : drawn("path", { d: "M0 6H24", class: `line ${line.style} ${line.dash ? "dash" : ""}` });
    const swatch = drawn("svg", { viewBox: "0 0 24 12", "aria-hidden": "true" }, sample);
    legend.append(element("li", {}, swatch, line.name));
  }
  const table = element("table", {}, element("thead", {}, head), element("tbody"));
  figure.append(
    element("figcaption", {}, chart.title),
    legend,
    drawn("svg", { role: "img", "aria-labelledby": `${figure.id}-title ${figure.id}-desc` }),
    element("details", {}, element("summary", {}, "As a table"), table),
  );
}

function contents(chart, width, titleId, descId) {
  const count = chart.series[0].values.length;
  const stacked = chart.series[0].bars;
  const sums = chart.series[0].values.map((_, at) =>
    chart.series.reduce((sum, line) => sum + (line.values[at] ?? 0), 0));
  const highest = stacked
    ? Math.max(...sums)
    : Math.max(...chart.series.flatMap((line) => line.values.map((value) => value ?? 0)));
  const marks = ticks(Math.max(highest, chart.least));
  const top = marks[marks.length - 1];
  const x = (at) => EDGE.left + (at / count) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
  const space = { x, y, width, count, top };
  const plot = stacked ? bars(chart, space) : chart.series.flatMap((line) => curve(line, space));
  return [
    drawn("title", { id: titleId }, `${chart.title}, last 15 minutes`),
    drawn("desc", { id: descId }, chart.summary),
    axisY(chart, marks, space),
    ...plot,
    axisX(chart, space),
  ];
}

function axisY(chart, marks, { y, width, top }) {
  const group = drawn("g", { class: "y-axis" });
  for (const mark of marks) {
    const at = y(mark);
    group.append(
      drawn("line", { x1: EDGE.left, x2: width - EDGE.right, y1: at, y2: at, class: "grid" }),
      drawn("text", { x: EDGE.left - 6, y: at + 4, "text-anchor": "end" }, chart.text(mark)),
    );
  }
  group.append(
    drawn("line", { x1: EDGE.left, x2: EDGE.left, y1: y(top), y2: y(0), class: "axis" }),
    drawn("text", { x: 2, y: 12, class: "unit" }, chart.unit),
  );
  return group;
}

function axisX(chart, { x, y, width, count }) {
  const group = drawn("g", { class: "x-axis" });
  const ends = chart.began + count * chart.step;
  group.append(drawn("line", {
    x1: EDGE.left, x2: width - EDGE.right, y1: y(0), y2: y(0), class: "axis",
  }));
  for (let time = Math.ceil(chart.began / 300) * 300; time <= ends; time += 300) {
    const at = x((time - chart.began) / chart.step);
    const anchor = at > width - EDGE.right - 12 ? "end" : "middle";
    group.append(
      drawn("line", { x1: at, x2: at, y1: y(0), y2: y(0) + 4, class: "axis" }),
      drawn("text", { x: at, y: HEIGHT - 6, "text-anchor": anchor }, clock.format(time * 1000)),
    );
  }
  return group;
}

function curve(line, { x, y }) {
  let path = "";
  const lone = [];
  line.values.forEach((value, at) => {
    if (value === null) return;
    const joined = at > 0 && line.values[at - 1] !== null;
    path += `${joined ? "L" : "M"}${x(at + 0.5).toFixed(1)} ${y(value).toFixed(1)}`;
    if (!joined && (line.values[at + 1] ?? null) === null) {
      lone.push(drawn("circle", { cx: x(at + 0.5), cy: y(value), r: 3, class: `dot ${line.style}` }));
    }
  });
  if (!path) return [];
  const style = `line ${line.style} ${line.dash ? "dash" : ""}`;
  return [drawn("path", { d: path, class: style }), ...lone];
}

function bars(chart, { x, y, count }) {
  const made = [];
  for (let at = 0; at < count; at += 1) {
    let below = 0;
    for (const line of chart.series) {
      const value = line.values[at];
      if (value) {
        made.push(drawn("rect", {
          x: x(at), width: Math.max(1, x(at + 1) - x(at) - 0.5), class: line.style,
          y: y(below + value), height: y(below) - y(below + value),
        }));
        below += value;
      }
    }
  }
  return made;
}

function fill(body, chart) {
  body.replaceChildren(...chart.rows.map(([time, ...values]) => element("tr", {},
    element("th", { scope: "row" }, clock.format(time * 1000)),
    ...values.map((value) =>
      element("td", { class: "number" }, value === null ? "–" : chart.text(value))))));
}
