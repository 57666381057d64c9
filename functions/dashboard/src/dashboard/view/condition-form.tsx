/** Asks for a condition on the payload, alone or as the first one of a group. */

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Feature } from "../model/facts";
import {
  type Filter,
  type GroupKind,
  KIND_NAMES,
  KINDS,
  OPERATOR_NAMES,
  type Operator,
  typedValue,
} from "../model/payload-filter";

interface ConditionFormProps {
  title: string;
  feature: Feature | null;
  operators: readonly Operator[];
  /** Whether the condition may begin a group. */
  canGroup: boolean;
  add: (filter: Filter) => void;
  /** Called on Escape; without it the form is always there. */
  close?: () => void;
}

export function ConditionForm({ title, feature, operators, canGroup, add, close }: ConditionFormProps) {
  const id = useId();
  const first = useRef<HTMLInputElement>(null);
  const [path, setPath] = useState("");
  const [operator, setOperator] = useState<Operator>("eq");
  const [typed, setTyped] = useState("");
  const [kind, setKind] = useState<GroupKind | "">("");
  const isOpened = close !== undefined;
  // Before the next key arrives, which belongs into the form.
  useLayoutEffect(() => {
    if (isOpened) first.current?.focus();
  }, [isOpened]);
  const submit = () => {
    const isMissing = !path.trim() || (operator !== "exists" && !typed.trim());
    if (isMissing) return first.current?.form?.querySelector<HTMLInputElement>("input:placeholder-shown")?.focus();
    const condition = { path: path.trim(), operator, value: typedValue(typed, operator) };
    setPath("");
    setTyped("");
    setKind("");
    first.current?.focus();
    add(kind ? { kind, filters: [condition] } : condition);
  };
  return (
    <form
      class="controls condition"
      aria-label="New filter"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") close?.();
      }}
    >
      <label>
        <span>{title}</span>
        <input
          ref={first}
          list={`${id}-keys`}
          value={path}
          placeholder="payload key"
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          maxLength={1024}
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
            autocapitalize="off"
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        </label>
      )}
      {canGroup && (
        <label>
          <span class="unseen">Alone or in a new group</span>
          <select value={kind} onChange={(event) => setKind(event.currentTarget.value as GroupKind | "")}>
            <option value="">alone</option>
            {KINDS.map((each) => (
              <option key={each} value={each}>
                {`in a group: ${KIND_NAMES[each]}`}
              </option>
            ))}
          </select>
        </label>
      )}
      <button type="submit">Add filter</button>
      {close && (
        <button type="button" onClick={close}>
          Cancel
        </button>
      )}
    </form>
  );
}
