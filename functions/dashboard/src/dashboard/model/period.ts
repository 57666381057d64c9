/** Days in UTC as text, `2026-11-20`, and the periods that are made of them. */

export type Day = string;

export interface Period {
  start: Day;
  end: Day;
}

export type Comparison = "previous" | "year" | "none";

const MILLISECONDS = 86_400_000;
const MAX_DAYS = 3660;

export function dayOf(date: Date): Day {
  return date.toISOString().slice(0, 10);
}

export function dateOf(day: Day): Date {
  return new Date(`${day}T00:00:00Z`);
}

export function isDay(text: string): boolean {
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(dateOf(text).getTime()) && dayOf(dateOf(text)) === text;
}

export function addDays(day: Day, days: number): Day {
  return dayOf(new Date(dateOf(day).getTime() + days * MILLISECONDS));
}

export function lengthOf(period: Period): number {
  return Math.round((dateOf(period.end).getTime() - dateOf(period.start).getTime()) / MILLISECONDS) + 1;
}

/** The last `days` days, today included. */
export function lastDays(days: number, today: Day): Period {
  return { start: addDays(today, 1 - days), end: today };
}

export function isPeriod(start: string, end: string): boolean {
  return isDay(start) && isDay(end) && start <= end && lengthOf({ start, end }) <= MAX_DAYS;
}

/** The period to compare with; null for none. */
export function comparedWith(period: Period, comparison: Comparison): Period | null {
  if (comparison === "none") return null;
  const days = comparison === "year" ? 364 : lengthOf(period); // 52 weeks, so that weekdays meet weekdays
  return { start: addDays(period.start, -days), end: addDays(period.end, -days) };
}

/** Whole weeks from Monday, or months, as the API groups by. */
export type Step = "DAY" | "WEEK" | "MONTH";

const STEPS: [Step, number][] = [
  ["DAY", 31],
  ["WEEK", 217],
];

/** The step in which to draw a period: at most 31 steps of a course. */
export function stepOf(period: Period): Step {
  return STEPS.find(([, days]) => lengthOf(period) <= days)?.[0] ?? "MONTH";
}

export const STEP_FIELDS: Record<Step, "day" | "week" | "month"> = { DAY: "day", WEEK: "week", MONTH: "month" };

export function stepStart(day: Day, step: Step): Day {
  if (step === "DAY") return day;
  if (step === "MONTH") return `${day.slice(0, 7)}-01`;
  return addDays(day, -((dateOf(day).getUTCDay() + 6) % 7));
}

export function nextStep(start: Day, step: Step): Day {
  if (step !== "MONTH") return addDays(start, step === "DAY" ? 1 : 7);
  return stepStart(addDays(start, 31), "MONTH");
}

/** The starts of all steps that a period touches. */
export function stepsOf(period: Period, step: Step): Day[] {
  const starts: Day[] = [];
  for (let day = stepStart(period.start, step); day <= period.end; day = nextStep(day, step)) starts.push(day);
  return starts;
}

/** The days of a step that lie within the period. */
export function within(start: Day, step: Step, period: Period): Period {
  const last = addDays(nextStep(start, step), -1);
  return { start: start < period.start ? period.start : start, end: earlierOf(last, period.end) };
}

function earlierOf(one: Day, other: Day): Day {
  return one < other ? one : other;
}
