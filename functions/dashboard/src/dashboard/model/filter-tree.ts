/** Changes filters within groups; a place is the index in each group, from the outermost on. */

import { type Filter, type GroupKind, isGroup } from "./payload-filter";

export type Place = readonly number[];

/** Adds a filter at the end of the group at a place; of all filters where the place is empty. */
export function addFilter(filters: readonly Filter[], place: Place, added: Filter): Filter[] {
  return change(filters, place, (within) => [...within, added]);
}

/** Removes the filter at a place, and the groups that are empty then. */
export function removeFilter(filters: readonly Filter[], place: Place): Filter[] {
  const last = place.at(-1);
  return change(filters, place.slice(0, -1), (within) => within.filter((_, index) => index !== last));
}

/** Gives the group at a place another kind. */
export function changeKind(filters: readonly Filter[], place: Place, kind: GroupKind): Filter[] {
  const last = place.at(-1);
  return change(filters, place.slice(0, -1), (within) =>
    within.map((filter, index) => (index === last && isGroup(filter) ? { ...filter, kind } : filter)),
  );
}

type Change = (filters: readonly Filter[]) => Filter[];

function change(filters: readonly Filter[], place: Place, changed: Change): Filter[] {
  const [first, ...rest] = place;
  if (first === undefined) return changed(filters);
  return filters.flatMap((filter, index) => {
    if (index !== first || !isGroup(filter)) return [filter];
    const within = change(filter.filters, rest, changed);
    return within.length ? [{ ...filter, filters: within }] : [];
  });
}
