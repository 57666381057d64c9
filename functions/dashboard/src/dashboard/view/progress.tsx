/** Says that a page is still being read, and for how long already. */

import { useEffect, useState } from "preact/hooks";

interface ProgressProps {
  busy: boolean;
  done: number;
  of: number;
}

export function Progress({ busy, done, of }: ProgressProps) {
  const seconds = useSeconds(busy);
  const isSlow = busy && seconds > 0;
  return (
    <div class="progress">
      {busy && <progress aria-label="Reading" max={of} value={done || undefined} />}
      {isSlow && <span aria-hidden="true">{`Reading: ${done} of ${of} after ${seconds} s`}</span>}
      <span class="unseen" role="status">
        {isSlow ? "The page is still being read." : ""}
      </span>
    </div>
  );
}

function useSeconds(running: boolean): number {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    setSeconds(0);
    if (!running) return;
    const timer = setInterval(() => setSeconds((before) => before + 1), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return seconds;
}
