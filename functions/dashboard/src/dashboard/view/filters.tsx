/** Filters on payloads: shows them, takes new ones. */

import { useId, useState } from "preact/hooks";
import type { State } from "../model/address";
import type { Feature } from "../model/facts";
import {
  describeFilter,
  type Filter,
  OPERATOR_NAMES,
  type Operator,
  printFilter,
  typedValue,
} from "../model/payload-filter";

interface FiltersProps {
  state: State;
  feature: Feature | null;
  operators: readonly Operator[];
  change: (changes: Partial<State>) => void;
}

export function Filters({ state, feature, operators, change }: FiltersProps) {
  const id = useId();
  const [path, setPath] = useState("");
  const [operator, setOperator] = useState<Operator>("eq");
  const [typed, setTyped] = useState("");
  const add = () => {
    if (!path.trim() || (operator !== "exists" && !typed.trim())) return;
    const filter: Filter = { path: path.trim(), operator, value: typedValue(typed, operator) };
    setPath("");
    setTyped("");
    change({ filters: [...state.filters, filter] });
  };
  return (
    <section class="filters" aria-label="Filters on the payload">
      <form
        class="controls"
        onSubmit={(event) => {
          event.preventDefault();
          add();
        }}
      >
        <label>
          <span>Only events whose</span>
          <input
            list={`${id}-keys`}
            value={path}
            placeholder="payload key"
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setPath(event.currentTarget.value)}
          />
        </label>
        <datalist id={`${id}-keys`}>
          {feature?.keys.map(({ name, type }) => (
            <option key={name} value={name}>
              {type}
            </option>
          ))}
        </datalist>
        <label>
          <span class="unseen">Comparison</span>
          <select value={operator} onChange={(event) => setOperator(event.currentTarget.value as Operator)}>
            {operators.map((each) => (
              <option key={each} value={each}>
                {OPERATOR_NAMES[each]}
              </option>
            ))}
          </select>
        </label>
        {operator !== "exists" && (
          <label>
            <span class="unseen">Value</span>
            <input
              value={typed}
              placeholder={operator === "in" || operator === "notIn" ? "ruby, go" : "value"}
              spellcheck={false}
              autocomplete="off"
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
          </label>
        )}
        <button type="submit">Add filter</button>
      </form>
      {state.filters.length > 0 && (
        <ul class="chips" aria-label="Filters">
          {state.filters.map((filter, index) => (
            <li key={printFilter(filter)}>
              {describeFilter(filter)}
              <button
                type="button"
                aria-label={`Remove: ${describeFilter(filter)}`}
                onClick={() => change({ filters: state.filters.filter((_, at) => at !== index) })}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
