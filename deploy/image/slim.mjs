/**
 * Takes from node_modules what no process in an image reads: types, source maps, and Temporal's native part for other
 * machines. Refuses to judge packages by name otherwise.
 *
 *   node slim.mjs <node_modules>
 */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const [folder = 'node_modules'] = process.argv.slice(2)
const unread = /\.(map|d\.[cm]?ts|flow)$/
const architecture = { x64: 'x86_64', arm64: 'aarch64' }[process.arch]
if (architecture === undefined) throw new Error(`Temporal has no native part for ${process.arch}`)

for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
  if (entry.isFile() && unread.test(entry.name)) rmSync(join(entry.parentPath, entry.name))
}
const natives = join(folder, '@temporalio/core-bridge/releases')
for (const name of readdirSync(natives)) {
  if (name !== `${architecture}-unknown-linux-gnu`) rmSync(join(natives, name), { recursive: true })
}
