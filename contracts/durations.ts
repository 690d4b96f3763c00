/** Durations as people write them: `320` (seconds), `320s`, `5m`, `48h`, `250ms`. Pure; free of zod. */

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, '': 1_000 } as const

/** Milliseconds, or undefined if the text is not a duration. */
export function durationMs(text: string): number | undefined {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|)$/.exec(text.trim()) ?? []
  if (amount === undefined || unit === undefined) return undefined
  return Math.round(Number(amount) * units[unit as keyof typeof units])
}
