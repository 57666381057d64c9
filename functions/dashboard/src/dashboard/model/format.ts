/** Shows values in the reader's locale; whole numbers of any size exactly. */

import { type Day, dateOf, type Step } from "./period";

export type Integer = number | bigint;
export type Kind = "text" | "integer" | "decimal" | "rate" | "seconds" | "day" | "moment" | "list" | "json";

export class Formats {
  readonly #integer: Intl.NumberFormat;
  readonly #compact: Intl.NumberFormat;
  readonly #decimal: Intl.NumberFormat;
  readonly #percent: Intl.NumberFormat;
  readonly #signed: Intl.NumberFormat;
  readonly #day: Intl.DateTimeFormat;
  readonly #shortDay: Intl.DateTimeFormat;
  readonly #month: Intl.DateTimeFormat;
  readonly #moment: Intl.DateTimeFormat;
  readonly #time: Intl.DateTimeFormat;
  readonly #relative: Intl.RelativeTimeFormat;
  readonly #list: Intl.ListFormat;
  readonly #locale: string | undefined;
  readonly #money = new Map<string, Intl.NumberFormat>();

  constructor(locale?: string) {
    this.#locale = locale;
    this.#integer = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
    this.#compact = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
    this.#decimal = new Intl.NumberFormat(locale, { maximumFractionDigits: 2 });
    this.#percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });
    this.#signed = new Intl.NumberFormat(locale, {
      style: "percent",
      maximumFractionDigits: 1,
      signDisplay: "exceptZero",
    });
    this.#day = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeZone: "UTC" });
    this.#shortDay = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone: "UTC" });
    this.#month = new Intl.DateTimeFormat(locale, { month: "short", year: "numeric", timeZone: "UTC" });
    this.#moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
    this.#time = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
    this.#list = new Intl.ListFormat(locale, { type: "unit", style: "short" });
    this.#relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  }

  /** A value of a kind, in a unit if it has one; a dash for none, dots for one that is not there yet. */
  value(value: unknown, kind: Kind, unit?: string): string {
    if (value === undefined) return "…";
    if (value === null) return "–";
    if (unit !== undefined && isNumber(value)) return this.#inUnit(value, kind, unit);
    switch (kind) {
      case "integer":
        return this.integer(value as Integer);
      case "decimal":
        return this.#decimal.format(value as number);
      case "rate":
        return this.#percent.format(value as number);
      case "seconds":
        return this.duration(Number(value));
      case "day":
        return this.#day.format(dateOf(value as Day));
      case "moment":
        return this.#moment.format(new Date(value as string));
      case "list":
        return (value as unknown[]).length ? this.#list.format((value as unknown[]).map(String)) : "–";
      default:
        return typeof value === "bigint" ? value.toString() : String(value);
    }
  }

  /** Seconds as a duration, a currency as money, and any other unit after the number. */
  #inUnit(value: Integer, kind: Kind, unit: string): string {
    if (unit === "s") return this.duration(Number(value));
    if (CURRENCIES.has(unit)) return this.#moneyOf(unit).format(value);
    return `${this.value(value, kind)}\u00a0${unit}`;
  }

  #moneyOf(currency: string): Intl.NumberFormat {
    const known = this.#money.get(currency);
    const format = known ?? new Intl.NumberFormat(this.#locale, { style: "currency", currency });
    if (!known) this.#money.set(currency, format);
    return format;
  }

  integer(value: Integer): string {
    return this.#integer.format(value);
  }

  /** A number on an axis, like 12K. */
  tick(value: number, kind: Kind, unit?: string): string {
    if (kind === "rate") return this.percent(value);
    if (unit === "s") return this.duration(value);
    const compact = Math.abs(value) < 10 ? this.#decimal.format(value) : this.#compact.format(value);
    return unit === undefined ? compact : `${compact}\u00a0${unit}`;
  }

  percent(value: number): string {
    return this.#percent.format(value);
  }

  /** A day on an axis. */
  step(date: Date, step: Step): string {
    return step === "MONTH" ? this.#month.format(date) : this.#shortDay.format(date);
  }

  day(day: Day): string {
    return this.#day.format(dateOf(day));
  }

  /** Seconds as days, hours, minutes and seconds: the two greatest units. */
  duration(exact: number): string {
    if (exact < 59.5) return `${this.#decimal.format(exact)} s`;
    const seconds = Math.round(exact);
    const [unit, size] = DURATIONS.find(([, each]) => seconds >= each) ?? (["min", 60] as const);
    const [nextUnit, nextSize] = DURATIONS[DURATIONS.findIndex(([name]) => name === unit) + 1] ?? ["s", 1];
    const total = Math.round(seconds / nextSize);
    const [whole, rest] = [Math.floor((total * nextSize) / size), total % (size / nextSize)];
    return rest ? `${this.integer(whole)} ${unit} ${rest} ${nextUnit}` : `${this.integer(whole)} ${unit}`;
  }

  /** The time of day where the reader is. */
  time(moment: Date): string {
    return this.#time.format(moment);
  }

  /** How long ago a moment was. */
  ago(moment: Date, now: Date): string {
    const seconds = (moment.getTime() - now.getTime()) / 1000;
    const [unit, size] = AGES.find(([, each]) => Math.abs(seconds) >= each) ?? (["second", 1] as const);
    return this.#relative.format(Math.trunc(seconds / size), unit);
  }

  /** A change in percent, like +12.5%. */
  change(change: number): string {
    return this.#signed.format(change);
  }
}

const DURATIONS: readonly (readonly [string, number])[] = [
  ["d", 86_400],
  ["h", 3600],
  ["min", 60],
];

const CURRENCIES: ReadonlySet<string> = new Set(Intl.supportedValuesOf("currency"));

const AGES = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
] as const;

const MAX_SHOWN = 200; // characters

/** A text of at most that many characters, whole ones; a longer one ends with dots. */
export function shortened(text: string, most = MAX_SHOWN): string {
  if (text.length <= most) return text;
  const characters = [...text.slice(0, 2 * most + 1)];
  return characters.length > most ? `${characters.slice(0, most).join("")}…` : text;
}

/** The change from one value to another as a share; null where there is nothing to compare with. */
export function changeOf(now: unknown, before: unknown): number | null {
  if (!isNumber(now) || !isNumber(before) || Number(before) === 0) return null;
  if (typeof now === "bigint" || typeof before === "bigint") {
    return Number(((BigInt(now) - BigInt(before)) * 100_000n) / BigInt(before)) / 100_000;
  }
  return (now - before) / before;
}

export function isNumber(value: unknown): value is Integer {
  return typeof value === "number" || typeof value === "bigint";
}

/** `code_suggestions` and `acceptanceRate` as words: `Code suggestions`, `Acceptance rate`. */
export function words(name: string): string {
  const text = name
    .replace(/([a-z0-9])([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`)
    .replaceAll("_", " ")
    .trim()
    .toLowerCase()
    .replace(
      /\b(ai|api|ci|id|ide|llm|mcp|mr|sql|url)(s?)\b/g,
      (_, letters: string, s: string) => letters.toUpperCase() + s,
    );
  return text.charAt(0).toUpperCase() + text.slice(1);
}
