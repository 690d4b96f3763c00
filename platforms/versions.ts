/** Compares version numbers as numbers: 0.9.0 is before 0.10.2. */

/** Negative if `a` is before `b`, 0 if they are the same, positive if it is after. What is no number counts as 0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [numbersOf(a), numbersOf(b)]
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function numbersOf(version: string): number[] {
  const [release = ''] = version.trim().replace(/^v/i, '').split(/[-+]/)
  return release.split('.').map((part) => Number.parseInt(part, 10) || 0)
}
