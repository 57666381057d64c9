/** Filters on payloads: shows them, with their groups, and takes new ones. */

import { useRef, useState } from "preact/hooks";
import type { State } from "../model/address";
import type { Facts, Feature } from "../model/facts";
import { addFilter, changeKind, type Place, removeFilter } from "../model/filter-tree";
import { shortened } from "../model/format";
import {
  describeFilter,
  type Filter,
  type FilterGroup,
  type GroupKind,
  isGroup,
  KIND_NAMES,
  KINDS,
} from "../model/payload-filter";
import { ConditionForm } from "./condition-form";

const MAX_DEPTH = 3; // groups within groups: on a phone, more can't be read

interface FiltersProps {
  state: State;
  feature: Feature | null;
  facts: Facts;
  change: (changes: Partial<State>) => void;
}

export function Filters({ state, feature, facts, change }: FiltersProps) {
  const editor: Editor = { feature, facts, filters: state.filters, set: (filters) => change({ filters }) };
  return (
    <section class="filters" aria-label="Filters on the payload">
      <ConditionForm
        title="Only events whose"
        feature={feature}
        operators={facts.operators}
        canGroup={facts.canGroupFilters}
        add={(filter) => editor.set(addFilter(state.filters, [], filter))}
      />
      {state.filters.length > 0 && <FilterList filters={state.filters} place={[]} editor={editor} />}
    </section>
  );
}

interface Editor {
  feature: Feature | null;
  facts: Facts;
  /** All filters of the page. */
  filters: Filter[];
  set: (filters: Filter[]) => void;
}

interface ListProps {
  filters: Filter[];
  place: Place;
  editor: Editor;
}

function FilterList({ filters, place, editor }: ListProps) {
  return (
    <ul class="chips" aria-label={place.length ? "Filters of the group" : "Filters"}>
      {filters.map((filter, index) => {
        const own = [...place, index];
        return isGroup(filter) ? (
          <li key={String(index)} class="group">
            <Group group={filter} place={own} editor={editor} />
          </li>
        ) : (
          <li key={String(index)}>
            <bdi>{shortened(describeFilter(filter), MAX_SHOWN)}</bdi>
            <Remove filter={filter} place={own} editor={editor} />
          </li>
        );
      })}
    </ul>
  );
}

function Group({ group, place, editor }: { group: FilterGroup; place: Place; editor: Editor }) {
  const [open, setOpen] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const close = () => {
    setOpen(false);
    requestAnimationFrame(() => opener.current?.focus());
  };
  return (
    <fieldset>
      <legend class="unseen">{`Group: ${KIND_NAMES[group.kind]}`}</legend>
      <div class="group-head">
        <label>
          <span class="unseen">How many must pass</span>
          <select
            value={group.kind}
            onChange={(event) => editor.set(changeKind(editor.filters, place, event.currentTarget.value as GroupKind))}
          >
            {KINDS.map((each) => (
              <option key={each} value={each}>
                {KIND_NAMES[each]}
              </option>
            ))}
          </select>
        </label>
        <Remove filter={group} place={place} editor={editor} />
      </div>
      <FilterList filters={group.filters} place={place} editor={editor} />
      {open ? (
        <ConditionForm
          title="In this group"
          feature={editor.feature}
          operators={editor.facts.operators}
          canGroup={place.length < MAX_DEPTH}
          add={(filter) => editor.set(addFilter(editor.filters, place, filter))}
          close={close}
        />
      ) : (
        <button type="button" ref={opener} onClick={() => setOpen(true)}>
          Add to this group
        </button>
      )}
    </fieldset>
  );
}

function Remove({ filter, place, editor }: { filter: Filter; place: Place; editor: Editor }) {
  return (
    <button
      type="button"
      class="remove"
      aria-label={`Remove: ${shortened(describeFilter(filter), MAX_SHOWN)}`}
      onClick={() => editor.set(removeFilter(editor.filters, place))}
    >
      ×
    </button>
  );
}

const MAX_SHOWN = 120;
