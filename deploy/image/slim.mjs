/**
 * Takes from node_modules what no process in an image reads: types, source maps, Temporal's native part for other
 * machines, and what a page's script was built from. Refuses to judge packages by name otherwise.
 *
 *   node slim.mjs <folder>     with package-lock.json and node_modules
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const [folder = '.'] = process.argv.slice(2)
/** Served to browsers as one file that holds all it depends on. */
const builtWhole = ['node_modules/@scalar/api-reference']
const unread = /\.(map|d\.[cm]?ts|flow)$/
const architecture = { x64: 'x86_64', arm64: 'aarch64' }[process.arch]
if (architecture === undefined) throw new Error(`Temporal has no native part for ${process.arch}`)

const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'))
const needed = reachable()
for (const path of Object.keys(packages)) {
  if (path !== '' && !needed.has(path)) rmSync(join(folder, path), { recursive: true, force: true })
}
for (const entry of readdirSync(join(folder, 'node_modules'), { recursive: true, withFileTypes: true })) {
  if (entry.isFile() && unread.test(entry.name)) rmSync(join(entry.parentPath, entry.name))
}
const natives = join(folder, 'node_modules/@temporalio/core-bridge/releases')
for (const name of readdirSync(natives)) {
  if (name !== `${architecture}-unknown-linux-gnu`) rmSync(join(natives, name), { recursive: true })
}

/** Paths of the packages that ours need, and those in whose folder such a package lies. */
function reachable() {
  const found = new Set()
  const queue = namesIn(packages['']).map((name) => `node_modules/${name}`)
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (found.has(path) || packages[path] === undefined) continue
    found.add(path)
    if (builtWhole.includes(path)) continue
    for (const name of namesIn(packages[path])) {
      const there = resolved(path, name)
      if (there !== undefined) queue.push(there)
    }
  }
  for (const path of [...found]) {
    for (
      let at = path.lastIndexOf('/node_modules/');
      at > 0;
      at = path.lastIndexOf('/node_modules/', at - 1)
    ) {
      found.add(path.slice(0, at))
    }
  }
  return found
}

function namesIn({ dependencies, optionalDependencies, peerDependencies }) {
  return Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })
}

/** As Node looks for it: in the package's own folder, then one folder up, and so on. */
function resolved(from, name) {
  for (let at = from; ; at = at.slice(0, at.lastIndexOf('node_modules/')).replace(/\/$/, '')) {
    const path = join(at, 'node_modules', name)
    if (packages[path] !== undefined && existsSync(join(folder, path))) return path
    if (at === '') return undefined
  }
}
