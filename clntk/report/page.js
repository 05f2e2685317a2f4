"use strict";
// What a page does in a browser: one part at a time, and charts whose contents can be chosen. All that it shows lies in
// the page; nothing is fetched. Charts are drawn by Vega-Lite, which comes before this script.
(() => {
  const PAGES = [...document.querySelectorAll(".page")];
  const LINKS = [...document.querySelectorAll("nav a[href^='#']")];
  const EVERY = "each";
  const drawn = new Map(); // place on the page → draws it again

  function show() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    const inside = wanted && document.getElementById(wanted);
    const page = (inside && inside.closest(".page")) || PAGES[0];
    for (const one of PAGES) one.hidden = wanted !== "everything" && one !== page;
    for (const link of LINKS) {
      const current = link.hash === (wanted === "everything" ? "#everything" : `#${page.id}`);
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (inside && inside !== page) inside.scrollIntoView();
    else window.scrollTo(0, 0);
    for (const one of PAGES) if (!one.hidden) one.querySelectorAll(".explore").forEach(begin);
  }

  function begin(place) {
    if (drawn.has(place)) return;
    const roles = JSON.parse(place.dataset.roles);
    const rows = read(document.getElementById(place.dataset.table), roles);
    const controls = place.querySelector(".controls");
    const choice = controlsOf(roles, rows, controls, () => draw());
    const draw = () => embed(place, chart(roles, choice()), place.dataset.table.replace("data-", ""));
    drawn.set(place, draw);
    place.hidden = false;
    draw();
  }

  // the table that the figure's link holds, as objects
  function read(link, roles) {
    const bytes = Uint8Array.from(atob(link.href.split("base64,")[1]), (c) => c.charCodeAt(0));
    const [names, ...lines] = cells(new TextDecoder().decode(bytes));
    const words = { True: 1, False: 0, "": NaN, inf: Infinity, "-inf": -Infinity };
    const number = (text) => (text in words ? words[text] : Number(text));
    const numeric = new Set([...roles.values.map(([field]) => field), ...roles.dims.filter((d) => d.numeric).map((d) => d.field)]);
    return lines.map((line) => Object.fromEntries(names.map((name, i) => [name, numeric.has(name) ? number(line[i]) : line[i]])));
  }

  // CSV as pandas writes it: quotes where a cell needs them, doubled within
  function cells(text) {
    const lines = [[]];
    for (const [, cell, end] of text.matchAll(/("(?:[^"]|"")*"|[^,\n]*)(,|\n|$)/g)) {
      lines.at(-1).push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
      if (end === "\n") lines.push([]);
      if (end === "") break;
    }
    if (lines.at(-1).join("") === "") lines.pop(); // what follows the last line's end
    return lines;
  }

  // what can be chosen, and a function that says what is
  function controlsOf(roles, rows, box, changed) {
    const select = (label, options) => {
      const made = document.createElement("select");
      made.append(...options.map(([value, text]) => new Option(text, value)));
      made.addEventListener("change", changed);
      const shown = labelled(label, made);
      shown.hidden = options.length === 1;
      box.append(shown);
      return made;
    };
    const across = roles.dims.filter((dim) => dim.across);
    const value = select("Measure", roles.values);
    const offered = (dims) => dims.map((dim) => [dim, select(dim.label, [[EVERY, ""]])]);
    const kinds = offered(roles.dims.filter((dim) => dim.filter && dim.pick));
    const x = select("Across", across.map((dim) => [dim.field, dim.label]));
    const chosen = [...kinds, ...offered(roles.dims.filter((dim) => dim.filter && !dim.pick))];
    const log = document.createElement("input");
    log.type = "checkbox";
    log.checked = roles.log;
    log.addEventListener("change", changed);
    box.append(labelled("Logarithmic", log));
    return () => {
      let left = rows.filter((row) => Number.isFinite(row[value.value]));
      for (const [dim, made] of chosen) left = narrowed(left, dim, made, dim.field === x.value);
      const picked = chosen.filter(([dim, made]) => dim.pick && !made.parentNode.hidden).map(([, made]) => made.value.slice(1));
      const named = roles.values.find(([field]) => field === value.value)[1];
      const label = value.value === "value" && picked.length ? picked.join(", ") : named;
      return { rows: left, value: value.value, label, x: across.find((dim) => dim.field === x.value), log: log.checked };
    };
  }

  // the rows that a control chooses, once it offers what these rows have
  function narrowed(rows, dim, made, isAcross) {
    const values = [...new Set(rows.map((row) => String(row[dim.field])))];
    if (dim.numeric) values.sort((a, b) => a - b);
    made.parentNode.hidden = isAcross || values.length < 2 || values.length > 60;
    if (made.parentNode.hidden) return rows;
    const all = dim.pick ? [] : [[EVERY, dim.condition ? "each" : "mean of all"]];
    const options = [...all, ...values.map((text) => [`=${text}`, text])];
    const before = made.value;
    made.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    made.value = options.some(([value]) => value === before) ? before : options[0][0];
    return made.value === EVERY ? rows : rows.filter((row) => `=${row[dim.field]}` === made.value);
  }

  function labelled(text, control) {
    const label = document.createElement("label");
    label.append(text, " ", control);
    return label;
  }

  // one point a seed: the mean over all that was not chosen; then the mean over seeds, with its t interval
  function summarised(roles, choice) {
    const seeds = new Map();
    for (const row of choice.rows) {
      const value = row[choice.value];
      const series = roles.series ? row[roles.series] : "all runs";
      const key = JSON.stringify([series, row[choice.x.field], roles.seed ? row[roles.seed] : ""]);
      const sum = seeds.get(key) || seeds.set(key, { total: 0, n: 0 }).get(key);
      sum.total += value;
      sum.n += 1;
    }
    const groups = new Map();
    const points = [...seeds].map(([key, { total, n }]) => {
      const [series, x, seed] = JSON.parse(key);
      return { series, x, seed, y: total / n };
    });
    for (const point of points) {
      const key = JSON.stringify([point.series, point.x]);
      (groups.get(key) || groups.set(key, []).get(key)).push(point.y);
    }
    const means = [...groups].map(([key, ys]) => {
      const [series, x] = JSON.parse(key);
      const n = ys.length;
      const y = ys.reduce((a, b) => a + b) / n;
      const sd = Math.sqrt(ys.reduce((a, b) => a + (b - y) ** 2, 0) / (n - 1));
      const half = n > 1 ? (roles.t[n - 2] * sd) / Math.sqrt(n) : NaN;
      return { series, x, y, n, low: n > 1 ? y - half : null, high: n > 1 ? y + half : null };
    });
    return { points, means };
  }

  function chart(roles, choice) {
    const { points, means } = summarised(roles, choice);
    const positive = (row) => !choice.log || row.y > 0;
    const present = new Set(means.map((row) => row.series));
    const conditions = roles.conditions.filter(([name]) => present.has(name));
    const numeric = choice.x.numeric;
    const x = {
      field: "x",
      type: numeric ? "quantitative" : "ordinal",
      title: choice.x.label,
      ...(numeric ? { scale: { zero: false } } : { sort: null, axis: { labelAngle: 0, labelOverlap: true } }),
    };
    const y = {
      field: "y",
      type: "quantitative",
      title: choice.label,
      scale: choice.log ? { type: "log" } : { zero: false },
      axis: choice.log ? decades(means) : {},
    };
    const color = {
      field: "series",
      type: "nominal",
      title: null,
      scale: { domain: conditions.map(([name]) => name), range: conditions.map(([, colour]) => colour) },
      legend: { orient: "top", columns: 3, symbolType: "circle", symbolOpacity: 1, labelLimit: 420 },
    };
    const lines = choice.x.ordered;
    const place = lines ? {} : { xOffset: { field: "series", sort: conditions.map(([name]) => name) } };
    const faded = { condition: { param: "only", value: 1, empty: true }, value: 0.08 };
    const tooltip = [
      { field: "series", title: "condition" },
      { field: "x", title: choice.x.label },
      { field: "y", title: choice.label, format: ".4~g" },
      { field: "low", title: "95 % from", format: ".3~g" },
      { field: "high", title: "to", format: ".3~g" },
      { field: "n", title: roles.seed ? "seeds" : "rows" },
    ];
    const shown = means.filter(positive).map((row) => ({ ...row, told: told(row, choice, roles) }));
    const bounded = shown.filter((row) => row.low !== null && (!choice.log || row.low > 0));
    return {
      description: `${choice.label} across ${choice.x.label}, by condition`,
      width: "container",
      height: 320,
      encoding: { x, color, ...place },
      layer: [
        ...(bounded.length ? [{
          data: { values: bounded },
          mark: lines ? { type: "area", aria: false } : { type: "rule", strokeWidth: 1.5, aria: false },
          encoding: { y: { ...y, field: "low" }, y2: { field: "high" }, opacity: { ...faded, condition: { ...faded.condition, value: lines ? 0.14 : 1 } } },
        }] : []),
        ...(roles.seed ? [{
          data: { values: points.filter(positive) },
          mark: lines ? { type: "line", strokeWidth: 0.8, aria: false } : { type: "point", filled: true, size: 14, aria: false },
          encoding: { y, detail: { field: "seed" }, opacity: { ...faded, condition: { ...faded.condition, value: 0.4 } } },
        }] : []),
        {
          data: { values: shown },
          params: [{ name: "only", select: { type: "point", fields: ["series"] }, bind: "legend" }],
          mark: lines ? { type: "line", strokeWidth: 2.2, aria: false, point: { size: 42, filled: true, aria: true } } : { type: "point", filled: true, size: 64 },
          encoding: { y, tooltip, opacity: faded, description: { field: "told" } },
        },
      ],
      config: look(),
    };
  }

  // a mark's numbers as a sentence, for those who hear them
  function told(row, choice, roles) {
    const bounds = row.low === null ? "" : ` [${row.low.toPrecision(3)}, ${row.high.toPrecision(3)}]`;
    const n = `${row.n} ${roles.seed ? "seeds" : "rows"}`;
    return `${row.series}, ${choice.x.label} ${row.x}: ${choice.label} ${row.y.toPrecision(4)}${bounds}, ${n}`;
  }

  // a line and a label at each power of ten, where there are several
  function decades(means) {
    const logs = means.map((row) => row.y).filter((y) => y > 0).map(Math.log10);
    const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
    if (!(high - low > 1)) return {};
    return { values: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)), format: ".0e" };
  }

  // the page's own colours, light or dark
  function look() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const text = { labelColor: colour("--ink"), titleColor: colour("--ink"), labelFontSize: 12, titleFontSize: 12 };
    return {
      background: colour("--paper"),
      font: getComputedStyle(document.body).fontFamily,
      axis: { ...text, titleFontWeight: "normal", domainColor: colour("--soft"), tickColor: colour("--soft"), gridColor: colour("--line") },
      legend: text,
      view: { stroke: null },
    };
  }

  async function embed(place, spec, name) {
    const box = place.querySelector(".chart");
    await vegaEmbed(box, spec, {
      mode: "vega-lite",
      renderer: "svg",
      ast: true, // expressions are interpreted, never compiled: the page allows no code but its own
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: name,
      i18n: { SVG_ACTION: "Save as SVG", PNG_ACTION: "Save as PNG" },
    });
    const menu = box.querySelector("summary");
    menu.setAttribute("aria-label", "Save the chart");
    menu.querySelector("svg").setAttribute("aria-hidden", "true");
  }

  document.documentElement.classList.add("scripted");
  window.addEventListener("hashchange", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((draw) => draw()));
  show();
})();
