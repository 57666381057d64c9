/** Shows figures, bars, triangles and tables. */

import { changeOf, type Formats, type Kind, shortened } from "../model/format";
import type { Bar, Chart, Figure } from "../model/picture";
import type { Table } from "../model/table";
import { labelOf } from "../panels/groups";
import { Sparkline, TimeChart } from "./chart";
import { Link } from "./link";
import { LongText } from "./long-text";
import { Prose } from "./prose";

export function Figures({ figures, formats }: { figures: Figure[]; formats: Formats }) {
  return (
    <ul class="figures">
      {figures.map((figure) => (
        <li key={figure.name} class={figure.chosen ? "figure chosen" : "figure"} data-metric={figure.name}>
          <h3>
            {figure.href ? (
              <Link href={figure.href} current={figure.chosen ?? false}>
                {figure.title}
              </Link>
            ) : (
              figure.title
            )}
          </h3>
          <Value text={formats.value(figure.value, figure.kind, figure.unit)} />
          {figure.before !== undefined && <Change figure={figure} formats={formats} />}
          {figure.course && <Sparkline values={figure.course} />}
          {figure.about && (
            <p class="about">
              <Prose text={figure.about} />
            </p>
          )}
          {figure.listed && (
            <p class="about">
              <LongText text={figure.listed} />
            </p>
          )}
        </li>
      ))}
    </ul>
  );
}

const LONG = 14; // characters

function Value({ text }: { text: string }) {
  return <p class={text.length > LONG ? "value long" : "value"}>{text}</p>;
}

function Change({ figure, formats }: { figure: Figure; formats: Formats }) {
  const change = changeOf(figure.value, figure.before);
  const direction = change === null || change === 0 ? "same" : change > 0 ? "up" : "down";
  return (
    <p class={`change ${direction}`}>
      {change !== null && <span class="by">{formats.change(change)}</span>}
      <span class="before"> {`from ${formats.value(figure.before, figure.kind, figure.unit)}`}</span>
    </p>
  );
}

export function ChartView({ chart, title, formats }: { chart: Chart; title: string; formats: Formats }) {
  if (chart.type === "bars") return <Bars bars={chart.bars} />;
  if (chart.type === "triangle") return <Triangle rows={chart.rows} title={title} />;
  return <TimeChart chart={chart} title={title} formats={formats} />;
}

function Bars({ bars }: { bars: Bar[] }) {
  const greatest = Math.max(1, ...bars.map(({ value }) => Number(value)));
  return (
    <ol class="bars">
      {bars.map((bar, index) => (
        <li key={`${bar.label} ${index}`}>
          <span class="label">
            {bar.href ? <Link href={bar.href}>{shortened(bar.label)}</Link> : shortened(bar.label)}
          </span>
          <span class="track">
            <span class="bar" style={{ width: barWidth(bar, greatest) }} />
          </span>
          <span class="number">{bar.shown}</span>
        </li>
      ))}
    </ol>
  );
}

/** The share of the greatest one; a value that is not zero can be seen. */
const barWidth = ({ value }: Bar, greatest: number) =>
  Number(value) > 0 ? `max(2px, ${(Number(value) / greatest) * 100}%)` : "0";

function Triangle({ rows, title }: { rows: Extract<Chart, { type: "triangle" }>["rows"]; title: string }) {
  const width = rows[0]?.cells.length ?? 0;
  return (
    <section class="scroll" aria-label={`Shares: ${title}`} tabIndex={0}>
      <table class="triangle">
        <thead>
          <tr>
            <th scope="col">First used in</th>
            <th scope="col">Users</th>
            {Array.from({ length: width }, (_, index) => (
              <th scope="col" key={String(index)}>{`+${index}`}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ label, size, cells }) => (
            <tr key={label}>
              <th scope="row">{label}</th>
              <td>{size}</td>
              {cells.map((cell, index) =>
                cell ? (
                  <td key={String(index)} class="cell" style={{ "--share": `${Math.round(cell.share * 50)}%` }}>
                    {cell.shown}
                  </td>
                ) : (
                  <td key={String(index)} />
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

export function TableView({ table, title, formats }: { table: Table; title: string; formats: Formats }) {
  return (
    <section class="scroll" aria-label={`Table: ${title}`} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {table.columns.map(({ title: name, kind }, at) => (
              <th scope="col" key={String(at)} class={kind}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, index) => (
            <tr key={String(index)}>
              {table.columns.map((column, at) => (
                <td key={String(at)} class={column.kind}>
                  <Cell
                    kind={kindAt(table, index, at)}
                    value={row[at]}
                    link={at === 0 ? table.links?.[index] : undefined}
                    formats={formats}
                  />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** The kind of a value: its column's, or its row's where rows differ. */
function kindAt({ columns, rowKinds }: Table, row: number, column: number): Kind {
  const own = columns[column]?.kind ?? "text";
  return column === 0 ? own : (rowKinds?.[row] ?? own);
}

interface CellProps {
  kind: Kind;
  value: unknown;
  link: string | undefined;
  formats: Formats;
}

function Cell({ kind, value, link, formats }: CellProps) {
  const text = kind === "json" ? labelOf(value) : formats.value(value, kind);
  return link ? <Link href={link}>{shortened(text)}</Link> : <LongText text={text} />;
}
