/** A text that is cut short where it is long, until the reader asks for the whole. */

import { useState } from "preact/hooks";
import { shortened } from "../model/format";

export function LongText({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  const short = shortened(text);
  if (short === text) return <>{text}</>;
  return (
    <>
      <span>{isWhole ? text : short}</span>{" "}
      <button type="button" class="whole" aria-expanded={isWhole} onClick={() => setWhole(!isWhole)}>
        {isWhole ? "Shorten" : `All ${text.length.toLocaleString()} characters`}
      </button>
    </>
  );
}
