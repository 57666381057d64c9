/** What the panels of a page are made from. */

import type { State } from "../model/address";
import { periodOf, toSearch } from "../model/address";
import type { Facts, Feature } from "../model/facts";
import { Formats } from "../model/format";
import { type Filter, filterArgument } from "../model/payload-filter";
import { comparedWith, type Period, type Step, stepOf } from "../model/period";
import { enumValue, Scope } from "../model/selection";

export class PanelContext {
  readonly period: Period;
  readonly compared: Period | null;
  readonly step: Step;
  readonly scope: Scope;

  constructor(
    readonly facts: Facts,
    readonly state: State,
    today: string,
    readonly formats: Formats = new Formats(),
    /** Whether the token reads just its own user's events. */
    readonly ownOnly = false,
  ) {
    this.period = periodOf(state, today);
    this.compared = comparedWith(this.period, state.comparison);
    this.step = stepOf(this.period);
    this.scope = new Scope(state.namespace);
  }

  get feature(): Feature | null {
    const { view } = this.state;
    return view.page === "feature" ? (this.facts.features.find(({ name }) => name === view.feature) ?? null) : null;
  }

  /** The arguments that select the page's events, of the page's period or another. */
  given(period: Period = this.period): Record<string, unknown> {
    const { view, filters } = this.state;
    return {
      startDate: period.start,
      endDate: period.end,
      features: this.feature ? [enumValue(this.feature.enumValue)] : undefined,
      userIds: view.page === "user" ? [view.user] : undefined,
      payload: view.page === "overview" ? undefined : this.#payload(filters),
    };
  }

  #payload(filters: readonly Filter[]) {
    const given = filterArgument(filters);
    return given && this.scope.variable("payload", "[PayloadFilter!]", given);
  }

  /** Whether the schema has a field of `Namespace` that takes all these arguments and answers with this field. */
  has(field: string, given: Record<string, unknown> = {}, row?: string): boolean {
    const known = this.facts.fields.get(field);
    if (!known) return false;
    const names = Object.keys(given).filter((name) => given[name] !== undefined);
    return names.every((name) => known.args.has(name)) && (row === undefined || known.rows.has(row));
  }

  /** The address of another state of the page. */
  link(changes: Partial<State>): string {
    return toSearch({ ...this.state, ...changes }) || "?";
  }
}
