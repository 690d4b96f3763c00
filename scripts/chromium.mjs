/**
 * Finds a Chromium or Chrome, or installs Chromium.
 *
 *   node scripts/chromium.mjs     prints its path
 */
import { aptInstall } from './apt.mjs'
import { findExecutable, isExecutable } from './run.mjs'

const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome']

/** `PERDURE_CHROMIUM`, else the first one on PATH, or undefined. */
export function chromiumPath() {
  const set = process.env.PERDURE_CHROMIUM
  if (set) return isExecutable(set) ? set : undefined
  return names.map((name) => findExecutable(name)).find((path) => path !== undefined)
}

export async function provide() {
  const present = chromiumPath()
  if (present) return present
  if (process.env.PERDURE_CHROMIUM) throw new Error('PERDURE_CHROMIUM is not an executable file')
  await aptInstall('chromium')
  const path = chromiumPath()
  if (!path) throw new Error('the package chromium brought no executable')
  return path
}

if (import.meta.main) console.log(await provide())
