/** Figures with their change. */

import { words } from "../model/format";
import type { Figure, Panel, Picture } from "../model/picture";
import type { PanelContext } from "./context";

const TOTALS = [
  ["totalEventCount", "Events"],
  ["usersCount", "Active users"],
  ["featuresCount", "Features used"],
] as const;

/** The totals of the period beside those of the compared one. */
export function totals(context: PanelContext, ofOneUser = false): Panel {
  const wanted = TOTALS.filter(([name]) => !ofOneUser || name !== "usersCount");
  const selection = wanted.map(([name]) => name).join(" ");
  return {
    id: "totals",
    title: "Totals",
    wide: true,
    selections: nowAndBefore(context, "totals", selection),
    needs: nowAndBefore(context, "totals", selection).slice(0, 1),
    read: (data) =>
      figuresPicture(
        context,
        wanted.map(([name, title]) => ({
          name,
          title,
          kind: "integer",
          value: (data.totals as Record<string, unknown>)[name],
          before: (data.totalsBefore as Record<string, unknown> | undefined)?.[name],
        })),
      ),
  };
}

export function nowAndBefore(context: PanelContext, alias: string, selection: string): string[] {
  const { scope, compared } = context;
  const now = scope.field(alias, "aiMetrics", context.given(), selection);
  return compared ? [now, scope.field(`${alias}Before`, "aiMetrics", context.given(compared), selection)] : [now];
}

export function figuresPicture(context: PanelContext, figures: Figure[]): Picture {
  const { compared } = context;
  return {
    figures,
    table: {
      columns: [
        { title: "Figure", kind: "text" },
        { title: periodTitle(context.period), kind: "integer" },
        ...(compared ? [{ title: periodTitle(compared), kind: "integer" as const }] : []),
      ],
      rowKinds: figures.map(({ kind }) => kind),
      rows: figures.map(({ title, name, unit, value, before }) => {
        const label = withUnit(title || words(name), unit);
        return compared ? [label, value, before ?? null] : [label, value];
      }),
    },
  };
}

/** The title of numbers in a unit, where they stand without it: `Cost (EUR)`. */
export const withUnit = (title: string, unit?: string) => (unit ? `${title} (${unit})` : title);

const periodTitle = ({ start, end }: { start: string; end: string }) => `${start} to ${end}`;
