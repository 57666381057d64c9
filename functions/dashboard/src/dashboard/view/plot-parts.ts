/** What the dashboard uses of Observable Plot; it is loaded while the first answer is waited for. */

export { areaY, axisX, axisY, barY, dot, gridY, lineY, plot, pointerX, ruleX, ruleY, tip } from "@observablehq/plot";
