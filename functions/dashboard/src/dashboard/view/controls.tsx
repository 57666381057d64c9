/** Chooses namespace, period and comparison. */

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { PRESETS, type State, toSearch } from "../model/address";
import type { Formats } from "../model/format";
import { type Comparison, isPeriod, type Period } from "../model/period";
import type { Ask } from "./use-answers";

interface ControlsProps {
  state: State;
  period: Period;
  formats: Formats;
  canSearch: boolean;
  showNamespace: boolean;
  ask: Ask;
  change: (changes: Partial<State>) => void;
}

export function Controls({ state, period, formats, canSearch, showNamespace, ask, change }: ControlsProps) {
  return (
    <form class="controls" aria-label="What to show" onSubmit={(event) => event.preventDefault()}>
      {showNamespace && <NamespacePicker state={state} canSearch={canSearch} ask={ask} change={change} />}
      <PeriodPicker key={toSearch(state)} state={state} period={period} change={change} />
      <label>
        <span>Compare with</span>
        <select
          value={state.comparison}
          onChange={(event) => change({ comparison: event.currentTarget.value as Comparison })}
        >
          <option value="previous">the period before</option>
          <option value="year">52 weeks earlier</option>
          <option value="none">nothing</option>
        </select>
      </label>
      <p class="period-in-words">
        {state.namespace && <span class="in-print">{`${state.namespace}, `}</span>}
        {`${formats.day(period.start)} – ${formats.day(period.end)}`}
      </p>
    </form>
  );
}

function PeriodPicker({ state, period, change }: { state: State; period: Period; change: ControlsProps["change"] }) {
  const isCustom = typeof state.period === "object";
  const [open, setOpen] = useState(isCustom);
  const [days, setDays] = useState(period);
  const presets = [...new Set([...PRESETS, ...(typeof state.period === "number" ? [state.period] : [])])].sort(
    (one, other) => one - other,
  );
  const set = (changed: Partial<Period>) => {
    const next = { ...days, ...changed };
    setDays(next);
    if (isPeriod(next.start, next.end)) change({ period: next });
  };
  return (
    <>
      <label>
        <span>Period</span>
        <select
          value={open ? "custom" : String(state.period)}
          onChange={(event) => {
            const { value } = event.currentTarget;
            setOpen(value === "custom");
            if (value !== "custom") change({ period: Number(value) });
          }}
        >
          {presets.map((each) => (
            <option key={each} value={String(each)}>
              {each === 1 ? "today" : `last ${each} days`}
            </option>
          ))}
          <option value="custom">from … to …</option>
        </select>
      </label>
      {open && (
        <>
          <label>
            <span>From</span>
            <input
              type="date"
              value={days.start}
              max={days.end}
              onChange={(event) => set({ start: event.currentTarget.value })}
            />
          </label>
          <label>
            <span>To</span>
            <input
              type="date"
              value={days.end}
              min={days.start}
              onChange={(event) => set({ end: event.currentTarget.value })}
            />
          </label>
        </>
      )}
    </>
  );
}

interface Found {
  path: string;
  fullPath: string;
}

interface PickerProps {
  state: State;
  canSearch: boolean;
  ask: Ask;
  change: ControlsProps["change"];
}

const SEARCH_AFTER = 200; // milliseconds without a key
const SHOWN = 12;

function saidOf(count: number): string {
  if (count === 0) return "No namespace is called so.";
  return count < SHOWN ? "" : "There may be more: type on.";
}

/** A combobox after the ARIA pattern: typing searches, arrows choose, Enter takes. */
function NamespacePicker({ state, canSearch, ask, change }: PickerProps) {
  const id = useId();
  const [text, setText] = useState(state.namespace ?? "");
  const [found, setFound] = useState<Found[]>([]);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const searching = useRef<AbortController | undefined>(undefined);
  const [said, setSaid] = useState("");
  useEffect(() => setText(state.namespace ?? ""), [state.namespace]);

  const search = (typed: string) => {
    clearTimeout(timer.current);
    searching.current?.abort(); // an older answer must not come after a newer one
    if (!canSearch) return;
    const controller = new AbortController();
    searching.current = controller;
    timer.current = setTimeout(async () => {
      setSaid("Searching…");
      const answer = await ask(
        {
          query: `query ($search: String) { namespaces(search: $search, first: ${SHOWN}) { path fullPath } }`,
          variables: { search: typed.trim() },
        },
        controller.signal,
      ).catch(() => null);
      if (controller.signal.aborted) return;
      const namespaces = answer?.data?.namespaces as Found[] | undefined;
      setFound(namespaces ?? []);
      setSaid(namespaces ? saidOf(namespaces.length) : "The namespaces can't be read.");
      setActive(-1);
    }, SEARCH_AFTER);
  };
  const take = (namespace: string | null) => {
    setOpen(false);
    setText(namespace ?? "");
    change({ namespace });
  };
  const options = [{ path: "", fullPath: "" }, ...found];
  const isOpen = open && canSearch;
  return (
    <div class="picker">
      <label for={`${id}-input`}>
        <span>Namespace</span>
      </label>
      <input
        id={`${id}-input`}
        role="combobox"
        aria-expanded={isOpen}
        aria-controls={`${id}-list`}
        aria-autocomplete="list"
        aria-activedescendant={isOpen && active >= 0 ? `${id}-${active}` : undefined}
        autocomplete="off"
        spellcheck={false}
        placeholder="everything"
        value={text}
        onFocus={() => {
          setOpen(true);
          search("");
        }}
        onBlur={() => {
          setOpen(false);
          setText(state.namespace ?? "");
        }}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setOpen(true);
          search(event.currentTarget.value);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            event.preventDefault();
            const step = event.key === "ArrowDown" ? 1 : -1;
            setOpen(true);
            setActive((active + step + options.length) % options.length);
          } else if (event.key === "Enter") {
            event.preventDefault();
            const chosen = isOpen ? options[active] : undefined;
            take((chosen ? chosen.fullPath : text.trim()) || null);
          } else if (event.key === "Escape") {
            setOpen(false);
            setText(state.namespace ?? "");
          }
        }}
      />
      {isOpen && (
        <div id={`${id}-list`} role="listbox" aria-label="Namespaces" class="options">
          {options.map((option, index) => (
            <div
              key={option.path}
              id={`${id}-${index}`}
              role="option"
              tabIndex={-1}
              aria-selected={index === active}
              onMouseDown={(event) => {
                event.preventDefault();
                take(option.fullPath || null);
              }}
            >
              {option.fullPath || "everything that the token may read"}
            </div>
          ))}
        </div>
      )}
      <p class={isOpen ? "found" : "unseen"} role="status">
        {isOpen ? said : ""}
      </p>
    </div>
  );
}
