/**
 * Corrects the roles of GraphiQL's tabs: a tab may hold no further buttons, and GraphiQL puts two into each. Here the first
 * of them is the tab.
 */
export function correctTabs(within: HTMLElement): void {
  const correct = () => {
    for (const item of within.querySelectorAll<HTMLElement>("li.graphiql-tab[role=tab]")) {
      item.setAttribute("role", "presentation");
      item.removeAttribute("aria-selected");
      item.querySelector("button")?.setAttribute("role", "tab");
    }
    for (const item of within.querySelectorAll("li.graphiql-tab")) {
      const selected = String(item.classList.contains("graphiql-tab-active"));
      const tab = item.querySelector("button[role=tab]");
      if (tab && tab.getAttribute("aria-selected") !== selected) tab.setAttribute("aria-selected", selected);
    }
  };
  new MutationObserver(correct).observe(within, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["class", "role"],
  });
}
