/** What a definition says: a text in which backticks enclose code. */

const CODE = /`([^`]+)`/;

export function Prose({ text }: { text: string }) {
  const parts = text.split(CODE);
  return <>{parts.map((part, at) => (at % 2 ? <code key={String(at)}>{part}</code> : part))}</>;
}
