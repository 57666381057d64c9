/** A link to another state of the page, which needs no new page. */

import type { ComponentChildren } from "preact";
import { createContext } from "preact";
import { useContext } from "preact/hooks";

export const Navigate = createContext<(search: string) => void>(() => undefined);

interface LinkProps {
  href: string;
  current?: boolean;
  children: ComponentChildren;
  class?: string;
  /** Called when the link is followed within the page. */
  onClick?: () => void;
}

export function Link({ href, current, children, onClick, ...rest }: LinkProps) {
  const navigate = useContext(Navigate);
  return (
    <a
      {...rest}
      href={href}
      aria-current={current ? "true" : undefined}
      onClick={(event) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        onClick?.();
        navigate(href);
      }}
    >
      {children}
    </a>
  );
}
