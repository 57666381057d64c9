/** Draws a chart over time with Observable Plot. */

import type { Markish, PlotOptions } from "@observablehq/plot";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Formats } from "../model/format";
import { dateOf } from "../model/period";
import { type Chart, type Point, valueTicks } from "../model/picture";

type Plot = typeof import("./plot-parts");
type OverTime = Extract<Chart, { type: "lines" | "stacked" }>;

const library = import("./plot-parts"); // comes while the first answer is waited for

const COLOURS = 8;
export const colourOf = (index: number) => `var(--series-${(index % COLOURS) + 1})`;

interface Drawn extends Point {
  date: Date;
  height: number;
  label: string;
}

export function TimeChart({ chart, title, formats }: { chart: OverTime; title: string; formats: Formats }) {
  const holder = useRef<HTMLDivElement>(null);
  const width = useWidth(holder);
  useLayoutEffect(() => {
    let current = true;
    if (width === 0) return;
    void library.then((plot) => {
      if (current) holder.current?.replaceChildren(draw(plot, options(plot, chart, title, formats, width)));
    });
    return () => {
      current = false;
    };
  }, [chart, title, formats, width]);
  return (
    <>
      {chart.series.length > 1 && <Legend series={chart.series} />}
      <div class="chart" ref={holder} />
    </>
  );
}

function Legend({ series }: { series: string[] }) {
  return (
    <ul class="legend" aria-label="Colours">
      {series.map((name, index) => (
        <li key={name}>
          <span class="swatch" style={{ background: colourOf(index) }} />
          {name}
        </li>
      ))}
    </ul>
  );
}

/** A small course without axes, for a figure. */
export function Sparkline({ values }: { values: readonly unknown[] }) {
  const numbers = values.map((value) => (value === null ? null : Number(value)));
  const known = numbers.filter((value) => value !== null);
  const greatest = Math.max(...known, 0);
  const least = Math.min(...known, 0);
  if (known.length < 2 || greatest === least) return null;
  const points = numbers.flatMap((value, index) =>
    value === null
      ? []
      : [`${(index / (numbers.length - 1)) * 100},${30 - ((value - least) / (greatest - least)) * 28}`],
  );
  return (
    <svg class="sparkline" viewBox="0 0 100 32" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} />
    </svg>
  );
}

/**
 * Draws a chart as one image: its name is what screen readers say, and the table behind it holds the values.
 *
 * Plot puts a style sheet into each chart, which the content security policy forbids: `style.css` holds what it says. Plot
 * labels groups and shapes, which have no role that may have a label: the labels become `data-label`.
 */
function draw(plot: Plot, plotOptions: PlotOptions): Element {
  const chart = plot.plot(plotOptions);
  for (const style of chart.querySelectorAll("style")) style.remove();
  for (const part of chart.querySelectorAll("[aria-label]")) {
    part.setAttribute("data-label", part.getAttribute("aria-label") ?? "");
    part.removeAttribute("aria-label");
  }
  chart.setAttribute("role", "img");
  return chart;
}

function options(plot: Plot, chart: OverTime, title: string, formats: Formats, width: number): PlotOptions {
  const points = chart.points.map(
    (point): Drawn => ({
      ...point,
      date: dateOf(point.day),
      height: point.value === null ? Number.NaN : Number(point.value),
      label: `${formats.step(dateOf(point.day), chart.step)}, ${point.series}: ${point.shown}`,
    }),
  );
  const days = [...new Set(chart.points.map(({ day }) => day))];
  const every = Math.max(1, Math.ceil(days.length / Math.max(2, Math.floor(width / 80))));
  const ticks = days.filter((_, index) => index % every === 0).map(dateOf);
  const first = formats.step(dateOf(days[0] ?? "2000-01-01"), chart.step);
  const last = formats.step(dateOf(days.at(-1) ?? "2000-01-01"), chart.step);
  const valuesAt = valueTicks(chart);
  return {
    width,
    height: width < 480 ? 200 : 260,
    marginLeft: chart.unit ? 72 : 48,
    marginRight: 24,
    marginTop: 12,
    marginBottom: 26,
    className: "plot",
    ariaLabel: `${title}, ${first} to ${last}`,
    ariaDescription: "The table behind this chart holds its values.",
    color: { domain: chart.series, range: chart.series.map((_, index) => colourOf(index)) },
    x:
      chart.type === "stacked"
        ? { type: "band", padding: days.length > 40 ? 0.1 : 0.25, label: null, domain: days.map(dateOf) }
        : { type: "utc", label: null },
    y: { label: null, ...(valuesAt ? { domain: [0, Math.max(1, ...valuesAt)] } : { nice: true, zero: true }) },
    marks: [
      plot.gridY({ ticks: valuesAt ?? 4 }),
      plot.axisY({
        ticks: valuesAt ?? 4,
        tickSize: 0,
        tickFormat: (value: number) => formats.tick(value, chart.kind, chart.unit),
      }),
      plot.axisX({ ticks, tickSize: 0, tickFormat: (date: Date) => formats.step(date, chart.step) }),
      ...(chart.type === "stacked" ? bars(plot, points, chart.series) : lines(plot, points, chart.series)),
      plot.ruleY([0]),
    ],
  };
}

function bars(plot: Plot, points: Drawn[], series: string[]): Markish[] {
  const shown = points.filter(({ height }) => height > 0);
  return [
    plot.barY(shown, {
      x: "date",
      y: "height",
      fill: "series",
      order: series,
      ariaLabel: "label",
      title: "label",
      tip: true,
    }),
  ];
}

function lines(plot: Plot, points: Drawn[], series: string[]): Markish[] {
  const known = points.filter(({ value }) => value !== null);
  const tip = plot.pointerX({
    x: "date",
    y: "height",
    stroke: "series",
    title: (point: Drawn) => point.label,
  });
  return [
    ...(series.length === 1
      ? [plot.areaY(points, { x: "date", y: "height", fill: "series", fillOpacity: 0.12, curve: "monotone-x" })]
      : []),
    plot.lineY(points, { x: "date", y: "height", stroke: "series", strokeWidth: 2, curve: "monotone-x" }),
    plot.dot(known, {
      x: "date",
      y: "height",
      fill: "series",
      r: points.length > 120 ? 0.5 : 2,
      ariaLabel: "label",
    }),
    plot.ruleX(known, plot.pointerX({ x: "date", strokeOpacity: 0.3 })),
    plot.tip(known, tip),
  ];
}

function useWidth(holder: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    const measure = () => setWidth(Math.floor(element.getBoundingClientRect().width));
    measure();
    const observer = new ResizeObserver(() => requestAnimationFrame(measure));
    observer.observe(element);
    return () => observer.disconnect();
  }, [holder]);
  return width;
}
