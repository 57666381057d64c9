/** A panel: a picture with its table, link, query, CSV and freshness. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Formats } from "../model/format";
import type { Panel as PanelModel, Picture } from "../model/picture";
import type { Scope } from "../model/selection";
import { toCsv } from "../model/table";
import { ChartView, Figures, TableView } from "./picture";
import { Prose } from "./prose";

interface PanelProps {
  panel: PanelModel;
  scope: Scope;
  data: Record<string, unknown> | null;
  problem: string | null;
  fresh: string;
  formats: Formats;
  /** The search part of the page's address. */
  search: string;
  /** Asks for the page again. */
  again: () => void;
  children?: ComponentChildren;
}

export function Panel({ panel, scope, data, problem: answered, fresh, formats, search, again, children }: PanelProps) {
  const [open, setOpen] = useState(panel.isOpen ?? false);
  const picture = data ? pictureOf(panel, data) : null;
  const problem = data && !picture ? UNREADABLE : answered;
  const isEmpty = picture !== null && !picture.table.rows.length;
  if (panel.optional && !problem && (isEmpty || !picture)) return null;
  return (
    <section
      id={panel.id}
      class={panel.wide ? "panel wide" : "panel"}
      aria-labelledby={`${panel.id}-title`}
      aria-busy={picture === null && !problem}
      tabIndex={-1}
    >
      <header>
        <h2 id={`${panel.id}-title`}>{panel.title}</h2>
        {panel.about && (
          <p class="about">
            <Prose text={panel.about} />
          </p>
        )}
      </header>
      {children}
      {problem && (
        <div class="problem" role="alert">
          <p>{problem}</p>
          <button type="button" onClick={again}>
            Try again
          </button>
        </div>
      )}
      {!picture && !problem && <div class="waiting">Loading…</div>}
      {isEmpty && <p class="nothing">Nothing in this period.</p>}
      {picture && !isEmpty && (
        <>
          {picture.figures && <Figures figures={picture.figures} formats={formats} />}
          {picture.chart && <ChartView chart={picture.chart} title={panel.title} formats={formats} />}
          {open && !panel.tabular && <TableView table={picture.table} title={panel.title} formats={formats} />}
        </>
      )}
      {picture && (
        <footer>
          <p class="fresh">{fresh}</p>
          <Tools panel={panel} scope={scope} picture={picture} search={search}>
            {!panel.tabular && (
              <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
                Table
              </button>
            )}
          </Tools>
        </footer>
      )}
    </section>
  );
}

const UNREADABLE =
  "The answer can't be drawn: the server may have another version than this page. Load the page again.";

/** What a panel shows; null for what it can't read. */
function pictureOf(panel: PanelModel, data: Record<string, unknown>): Picture | null {
  try {
    return panel.read(data);
  } catch (error) {
    console.error(error);
    return null;
  }
}

interface ToolsProps {
  panel: PanelModel;
  scope: Scope;
  picture: Picture;
  search: string;
  children?: ComponentChildren;
}

function Tools({ panel, scope, picture, search, children }: ToolsProps) {
  const [said, setSaid] = useState("");
  const copy = (text: string, what: string) => {
    navigator.clipboard.writeText(text).then(
      () => setSaid(`${what} copied`),
      () => setSaid("The browser does not let this page copy."),
    );
    setTimeout(() => setSaid(""), 3000);
  };
  const address = `${location.origin}${location.pathname}${search === "?" ? "" : search}#${panel.id}`;
  return (
    <div class="tools">
      {children}
      <a href={`${search}#${panel.id}`} onClick={() => copy(address, "Link")}>
        Copy link
      </a>
      <button type="button" onClick={() => copy(scope.query(panel.selections, panel.fragments), "Query")}>
        Copy as GraphQL
      </button>
      <button type="button" onClick={() => download(`${panel.id}.csv`, toCsv(picture.table))}>
        CSV
      </button>
      <span class="said" role="status">
        {said}
      </span>
    </div>
  );
}

function download(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
