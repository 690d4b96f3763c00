/** The workflow bundle: built once per version of the code and kept, because building takes seconds of CPU. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const here = dirname(fileURLToPath(import.meta.url))
// `index.ts` in a checkout, `index.js` in the published package.
const extension = extname(fileURLToPath(import.meta.url))
const sources = [join(here, '../workflows'), join(here, '../contracts')]
const entry = join(here, `../workflows/index${extension}`)
const interceptors = join(here, `../workflows/tracing${extension}`)
const build = join(here, `bundle-build${extension}`)

export interface Bundle {
  codePath: string
}

/** Path of a bundle that fits the code; built into `folder` if it is not there. Safe against concurrent building. */
export async function workflowBundle(folder: string): Promise<Bundle> {
  const codePath = join(folder, `workflows-${digest()}.js`)
  if (!existsSync(codePath)) {
    await promisify(execFile)(process.execPath, [build, entry, codePath, interceptors])
  }
  return { codePath }
}

function digest(): string {
  const hash = createHash('sha256')
  hash.update(createRequire(import.meta.url)('@temporalio/worker/package.json').version)
  hash.update(readFileSync(build))
  for (const folder of sources) {
    for (const name of readdirSync(folder).sort()) {
      if (extname(name) !== extension) continue
      hash.update(name).update(readFileSync(join(folder, name)))
    }
  }
  return hash.digest('hex').slice(0, 20)
}
