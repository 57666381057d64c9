/** The links to all pages: beside the page, or behind a button where the window is narrow. */

import { useState } from "preact/hooks";
import type { Claims } from "../../shared/claims";
import type { State } from "../model/address";
import { words } from "../model/format";
import type { PanelContext } from "../panels/context";
import { Link } from "./link";

const MANY = 15; // features from which on one searches

interface NavigationProps {
  context: PanelContext;
  claims: Claims;
  /** The title of the current page. */
  title: string;
}

export function Navigation({ context, claims, title }: NavigationProps) {
  const { state, facts } = context;
  const { view } = state;
  const [open, setOpen] = useState(false);
  const close = () => setOpen(false);
  const [typed, setTyped] = useState("");
  const to = (other: State["view"]) =>
    context.link({ view: other, filters: [], group: null, breakdown: null, metric: null });
  const { subject } = claims;
  const features = facts.features.filter(({ name }) => matches(name, typed));
  return (
    <nav class="pages" aria-label="Pages">
      <button type="button" class="menu" aria-expanded={open} aria-controls="pages" onClick={() => setOpen(!open)}>
        <span class="unseen">Pages, now: </span>
        {title}
      </button>
      <div id="pages" class={open ? "list open" : "list"}>
        <ul>
          {!claims.ownOnly && (
            <li>
              <Link href={to({ page: "overview" })} current={view.page === "overview"} onClick={close}>
                Overview
              </Link>
            </li>
          )}
          {subject && /^[1-9]\d*$/.test(subject) && (
            <li>
              <Link
                href={to({ page: "user", user: subject })}
                current={view.page === "user" && view.user === subject}
                onClick={close}
              >
                My usage
              </Link>
            </li>
          )}
        </ul>
        {facts.features.length > 0 && <h2 id="features">Features</h2>}
        {facts.features.length > MANY && (
          <input
            type="search"
            aria-label="Find a feature"
            placeholder="Find a feature"
            value={typed}
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        )}
        <ul aria-labelledby="features">
          {features.map(({ name }) => (
            <li key={name}>
              <Link
                href={to({ page: "feature", feature: name })}
                current={view.page === "feature" && view.feature === name}
                onClick={close}
              >
                {words(name)}
              </Link>
            </li>
          ))}
        </ul>
        {features.length === 0 && typed && <p class="hint">No feature is called so.</p>}
      </div>
    </nav>
  );
}

function matches(name: string, typed: string): boolean {
  const wanted = typed.trim().toLowerCase();
  return name.includes(wanted.replaceAll(" ", "_")) || words(name).toLowerCase().includes(wanted);
}
