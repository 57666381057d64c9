/** Keeps the reader's token for this tab: it is entered once for both pages, and never part of an address. */

const KEY = "token";

export function storedToken(): string {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Stores a token; takes it as it was copied, with the word `Bearer` and white space too. */
export function storeToken(text: string): string {
  const token = cleanToken(text);
  sessionStorage.setItem(KEY, token);
  return token;
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
}

export function cleanToken(text: string): string {
  return text.replace(/^\s*Bearer\s/i, "").replace(/\s+/g, "");
}
