/** Chooses what the page is broken down by. */

import { useId } from "preact/hooks";
import type { Group, State } from "../model/address";
import type { PanelContext } from "../panels/context";
import { breakdownKey, GROUP_TITLES, groupOf, groupsOf } from "../panels/groups";

interface GroupPickerProps {
  context: PanelContext;
  change: (changes: Partial<State>) => void;
}

export function GroupPicker({ context, change }: GroupPickerProps) {
  const id = useId();
  const group = groupOf(context);
  const current = breakdownKey(context) ?? "";
  return (
    <div class="grouping">
      <label>
        <span>Group by</span>
        <select value={group} onChange={(event) => change({ group: event.currentTarget.value as Group })}>
          {groupsOf(context).map((each) => (
            <option key={each} value={each}>
              {GROUP_TITLES[each]}
            </option>
          ))}
        </select>
      </label>
      {group === "payload" && (
        <label>
          <span>Payload key</span>
          <input
            list={`${id}-keys`}
            defaultValue={current}
            key={current}
            spellcheck={false}
            autocomplete="off"
            onChange={(event) => change({ group: "payload", breakdown: event.currentTarget.value.trim() || null })}
          />
          <datalist id={`${id}-keys`}>
            {context.feature?.keys.map(({ name }) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </label>
      )}
    </div>
  );
}
