// Draws what elements carry in data-plot: evidence and performance over time, distributions before and now. uPlot does the drawing.
"use strict";

(() => {
  const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const drawn = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const power = (value) => `10${String(value).replace(/./g, (one) => RAISED[one])}`;
  const share = (value) => (value == null ? "–" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);
  const short = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(1);
    return String(Number(value.toPrecision(4)));
  };
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (value) => String(value).padStart(2, "0");
  // Times along an axis, in UTC like all others on the page: hours with the day under the first of each day.
  const times = (_, ticks, __, ___, step) => ticks.map((tick, place) => {
    const at = new Date(1000 * tick);
    const day = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
    const before = place ? new Date(1000 * ticks[place - 1]) : null;
    if (step >= 86400) return !before || before.getUTCFullYear() !== at.getUTCFullYear() ? `${day}\n${at.getUTCFullYear()}` : day;
    const clock = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}${step < 60 ? `:${two(at.getUTCSeconds())}` : ""}`;
    return !before || before.getUTCDate() !== at.getUTCDate() ? `${clock}\n${day}` : clock;
  });
  const cut = (name) => (name.length > 24 ? `${name.slice(0, 24)}…` : name);

  function axis(more) {
    return {
      stroke: colour("faint"),
      font: "12px system-ui, sans-serif",
      grid: { stroke: colour("rule"), width: 1 },
      ticks: { stroke: colour("rule"), width: 1, size: 4 },
      ...more,
    };
  }

  function marks(spec) {
    // Upright lines at moments that the text names; their words stand at the top and keep out of each other's way.
    return (plot) => {
      const { ctx, bbox } = plot;
      const ratio = devicePixelRatio || 1;
      let free = -Infinity;
      ctx.save();
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      for (const mark of spec.marks) {
        const x = Math.round(plot.valToPos(mark.x, "x", true));
        if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
        ctx.strokeStyle = ctx.fillStyle = colour(mark.label === "over" ? "good" : "ink");
        ctx.setLineDash([2 * ratio, 3 * ratio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        const wide = ctx.measureText(mark.label).width;
        const beyond = x + wide + 10 * ratio > bbox.left + bbox.width;
        const at = beyond ? x - wide - 5 * ratio : x + 5 * ratio;
        const down = at < free ? 16 * ratio : 2 * ratio;
        ctx.fillText(mark.label, at, bbox.top + down);
        free = at + wide;
      }
      ctx.restore();
    };
  }

  function evidence(spec, width, height) {
    const strokes = ["line-1", "line-2", "line-3", "line-4", "line-5"];
    const value = (_, given) => (given == null ? "–" : power(Math.round(given)));
    const series = [
      { value: (_, x) => (x == null ? "–" : new Date(1000 * x).toISOString().slice(0, 16).replace("T", " ")), label: "until" },
      ...spec.units.map((one, place) => ({
        label: cut(one.name), stroke: colour(strokes[place]), width: 1.25, points: { show: false }, value,
      })),
      { label: "all together", stroke: colour("ink"), width: 3, points: { show: spec.x.length < 3 }, value, spanGaps: true },
      { label: "asked for", stroke: colour("page"), width: 2, dash: [7, 5], points: { show: false }, value },
    ];
    const values = spec.units.map((one) => one.y).concat([spec.whole, spec.threshold]).flat().filter((y) => y != null);
    const low = Math.min(...values), high = Math.max(...values);
    const room = 0.12 * (high - low || 1);
    return {
      data: [spec.x, ...spec.units.map((one) => one.y), spec.whole, spec.threshold],
      options: {
        width, height, series,
        scales: { x: { time: true }, y: { range: [low - room / 3, high + room] } },
        axes: [axis({ space: 80, values: times }), axis({ size: 52, values: (_, ticks) => ticks.map((one) => (one % 1 ? "" : power(one))) })],
        legend: { live: true },
        cursor: { drag: { x: true, y: false } },
        hooks: { draw: [marks(spec)] },
        tzDate: (stamp) => uPlot.tzDate(new Date(1e3 * stamp), "Etc/UTC"),
      },
    };
  }

  function steps(spec, width, height) {
    const stairs = uPlot.paths.stepped({ align: 1 });
    const value = (_, given) => share(given);
    const top = Math.max(...spec.before, ...spec.now) || 1;
    return {
      data: [spec.x, spec.before, spec.now],
      options: {
        width, height,
        series: [
          { label: "from", value: (_, x) => (x == null ? "–" : short(x)) },
          { label: spec.labels[0], stroke: colour("was"), fill: colour("was-fill"), width: 1.5, paths: stairs, points: { show: false }, value },
          { label: spec.labels[1], stroke: colour("is"), fill: colour("is-fill"), width: 2, paths: stairs, points: { show: false }, value },
        ],
        scales: { x: { time: false, range: [spec.x[0], spec.x[spec.x.length - 1]] }, y: { range: [0, 1.08 * top] } },
        axes: [
          axis({ size: 30, space: 56, grid: { show: false }, values: (_, ticks) => ticks.map(short) }),
          axis({ size: 44, space: 34, values: (_, ticks) => ticks.map(share) }),
        ],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
      },
    };
  }

  function scatter(spec, width, height) {
    const dots = (side, size) => ({
      label: spec.labels[side === "was" ? 0 : 1], stroke: colour(side), paths: () => null,
      points: { show: true, size, width: 1, stroke: colour(side), fill: colour(side === "was" ? "was-fill" : "is") },
    });
    return {
      data: [spec.x, spec.before, spec.now],
      options: {
        width, height,
        series: [{ label: cut(spec.names[0]) }, dots("was", 4), dots("is", 6)],
        scales: { x: { time: false } },
        axes: [
          axis({ size: 46, space: 56, label: cut(spec.names[0]), labelSize: 18, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map(short) }),
          axis({ size: 50, label: cut(spec.names[1]), labelSize: 18, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map(short) }),
        ],
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
      },
    };
  }

  // A metric by labels and as estimated, each with its interval as a band.
  function performance(spec, width, height) {
    const strokes = ["is", "line-2", "line-3"];
    const value = (_, given) => (given == null ? "–" : short(given));
    const within = (plot, given, place, at) => {
      if (given == null || at == null) return "–";
      const [high, low] = [plot.data[place - 2][at], plot.data[place - 1][at]];
      return low == null || high == null ? short(given) : `${short(given)} (${short(low)} to ${short(high)})`;
    };
    const hidden = { stroke: "transparent", width: 0, points: { show: false }, class: "edge" };
    const series = [{ value: (_, x) => (x == null ? "–" : new Date(1000 * x).toISOString().slice(0, 16).replace("T", " ")), label: "at" }];
    const data = [spec.x], bands = [];
    const add = (told, line, fill) => {
      const edge = { ...hidden, spanGaps: line.spanGaps };
      series.push({ ...edge, label: `${line.label}, at most` }, { ...edge, label: `${line.label}, at least` }, { value: within, ...line });
      bands.push({ series: [series.length - 3, series.length - 2], fill });
      data.push(told.high, told.low, told.value);
    };
    add(spec.realised, { label: "by labels", stroke: colour("ink"), width: 2.5, points: { show: false }, spanGaps: false }, colour("was-fill"));
    spec.estimates.forEach((one, place) => {
      const alone = spec.estimates.length === 1;
      const many = one.value.filter((y) => y != null).length > 2;
      add(one, { label: alone ? "estimated" : `estimated of ${cut(one.name)}`, stroke: colour(strokes[place]), width: 1.5, points: { show: !many }, spanGaps: true }, alone || !place ? colour("is-fill") : "transparent");
    });
    if (spec.reference != null) {
      series.push({ label: "reference", stroke: colour("faint"), width: 1.5, dash: [7, 5], points: { show: false }, value });
      data.push(spec.x.map(() => spec.reference));
    }
    return {
      data,
      options: {
        width, height, series, bands,
        scales: { x: { time: true } },
        axes: [axis({ space: 80, values: times }), axis({ size: 58, values: (_, ticks) => ticks.map(short) })],
        legend: { live: true },
        cursor: { drag: { x: true, y: false } },
        tzDate: (stamp) => uPlot.tzDate(new Date(1e3 * stamp), "Etc/UTC"),
      },
    };
  }

  // Share that came true against what was said; on the dashed line probabilities mean what they say.
  function reliability(spec, width, height) {
    const value = (_, given) => share(given);
    const dots = { show: true, size: 6 };
    const hidden = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true, value };
    return {
      data: [spec.x, spec.x, spec.before, spec.high, spec.low, spec.now],
      options: {
        width, height,
        series: [
          { label: "said", value: (_, x) => share(x) },
          { label: "as said", stroke: colour("faint"), width: 1, dash: [5, 5], points: { show: false } },
          { label: "reference", stroke: colour("was"), width: 1.5, points: { ...dots, fill: colour("was") }, spanGaps: true, value },
          { ...hidden, label: "at most" }, { ...hidden, label: "at least" },
          { label: "newest labels", stroke: colour("is"), width: 2, points: { ...dots, fill: colour("is") }, spanGaps: true, value },
        ],
        bands: [{ series: [3, 4], fill: colour("is-fill") }],
        scales: { x: { time: false, range: [0, 1] }, y: { range: [0, 1] } },
        axes: [
          axis({ size: 46, space: 56, label: "said", labelSize: 18, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map(share) }),
          axis({ size: 60, label: "came true", labelSize: 18, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map(share) }),
        ],
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
      },
    };
  }

  function draw(place) {
    const spec = JSON.parse(place.dataset.plot);
    const width = Math.floor(place.clientWidth), height = ["evidence", "performance"].includes(spec.kind) ? (width < 600 ? 230 : 280) : Math.floor(place.clientHeight);
    if (!(width > 40) || !spec.x.length) return;
    const made = { evidence, steps, scatter, performance, reliability }[spec.kind](spec, width, height);
    drawn.get(place)?.destroy();
    drawn.set(place, new uPlot(made.options, made.data, place));
    place.dataset.drawn = "yes";
  }

  function again() {
    for (const place of drawn.keys()) draw(place);
  }

  // A row's image, grey or in colours, as it was logged.
  function picture(place) {
    const { width, height, pixels } = JSON.parse(place.dataset.picture);
    place.width = width;
    place.height = height;
    const made = new ImageData(width, height);
    const bands = pixels.length / (width * height);
    for (let at = 0; at < width * height; at += 1) {
      for (let band = 0; band < 3; band += 1) made.data[4 * at + band] = pixels[at * bands + (bands === 3 ? band : 0)];
      made.data[4 * at + 3] = 255;
    }
    place.getContext("2d").putImageData(made, 0, 0);
  }
  for (const place of document.querySelectorAll("canvas[data-picture]")) picture(place);

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });

  for (const place of document.querySelectorAll("[data-plot]")) near.observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let wait = 0;
  let wide = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === wide) return;
    wide = innerWidth;
    clearTimeout(wait);
    wait = setTimeout(again, 150);
  });
  addEventListener("beforeprint", () => {
    for (const place of document.querySelectorAll("[data-plot]:not([data-drawn])")) draw(place);
  });
})();
