/** The workflow bundle: built once per version of the code and kept, because building takes seconds of CPU. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, extname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const here = dirname(fileURLToPath(import.meta.url))
// `index.ts` in a checkout, `index.js` in the published package.
const extension = extname(fileURLToPath(import.meta.url))
const root = join(here, '..')
const entry = join(here, `../workflows/index${extension}`)
const interceptors = join(here, `../workflows/tracing${extension}`)
const build = join(here, `bundle-build${extension}`)

export interface Bundle {
  codePath: string
}

/** Path of a bundle that fits the code; built into `folder` if it is not there. Safe against concurrent building. */
export async function workflowBundle(folder: string): Promise<Bundle> {
  const codePath = join(folder, bundleName(root))
  if (!existsSync(codePath)) {
    await promisify(execFile)(process.execPath, [build, entry, codePath, interceptors])
  }
  return { codePath }
}

/** The name of the bundle that fits the code below `root`: another one after any change in its workflows or contracts. */
export function bundleName(root: string): string {
  const hash = createHash('sha256')
  hash.update(createRequire(import.meta.url)('@temporalio/worker/package.json').version)
  hash.update(readFileSync(build))
  for (const room of ['workflows', 'contracts']) {
    const sources = readdirSync(join(root, room), { recursive: true, encoding: 'utf8' })
    for (const source of sources.filter((name) => extname(name) === extension).sort()) {
      const path = [room, ...source.split(sep)].join('/')
      hash.update(path).update(readFileSync(join(root, path)))
    }
  }
  return `workflows-${hash.digest('hex').slice(0, 20)}.js`
}
