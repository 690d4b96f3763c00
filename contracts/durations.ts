/** Durations as people write them: `320` (seconds), `320s`, `5m`, `48h`, `250ms`. Pure; free of zod. */

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, '': 1_000 } as const

/** Milliseconds, or undefined if the text is not a duration. */
export function durationMs(text: string): number | undefined {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|)$/.exec(text.trim()) ?? []
  if (amount === undefined || unit === undefined) return undefined
  return Math.round(Number(amount) * units[unit as keyof typeof units])
}

const parts = [3_600_000, 60_000, 1_000]

/** Milliseconds of `90` (seconds), `90s`, `5m` or `1h30m45s`, as Replicate's `Cancel-After` has them; else undefined. */
export function spanMs(text: string): number | undefined {
  const span = /^\d+$/.test(text.trim()) ? `${text.trim()}s` : text.trim()
  const [, ...amounts] = /^(?=\d)(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$/.exec(span) ?? []
  if (amounts.length === 0) return undefined
  return amounts.reduce((sum, amount, n) => sum + Number(amount ?? 0) * (parts[n] ?? 0), 0)
}
