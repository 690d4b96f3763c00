/**
 * Provides what the tests need beyond npm and Temporal, as far as this machine allows. Says on stderr what it could
 * not provide and why; its stdout is what it did provide, as PERDURE_REQUIRE takes it.
 *
 *   node scripts/tools.mjs               what some test asks for
 *   node scripts/tools.mjs docker java   these
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { aptInstall } from './apt.mjs'
import { provide as chromium } from './chromium.mjs'
import { provide as compose } from './compose.mjs'
import { startEngine } from './docker-engine.mjs'
import { ensureBaseImage } from './docker-image.mjs'
import { provide as helm } from './helm.mjs'
import { provide as kubernetes } from './kubernetes.mjs'
import { neededByTests } from './needs.ts'
import { provide as postgres } from './postgres.mjs'
import { findExecutable, run } from './run.mjs'
import { provide as s3 } from './s3.mjs'
import { provide as temporalServer } from './temporal-server.mjs'

const root = join(import.meta.dirname, '..')

/** Each resolves with what is there, or rejects with the reason. */
const tools = {
  docker: async () => {
    const { version } = await startEngine()
    return `engine ${version}, image ${await ensureBaseImage()}`
  },
  compose,
  python: async () => {
    const script = join(import.meta.dirname, 'python-venv.mjs')
    const sets = ['cog', 'mlserver', 'kserve', 'clients', 'replicate']
    await run('python', process.execPath, [script, ...sets], { limitMs: 20 * 60_000 })
    return `environments ${sets.join(', ')}`
  },
  postgres,
  // With nothing in any cache it is some minutes; what is not finished by then, the next run finishes.
  'temporal-server': () => temporalServer(process.env.PERDURE_FULL ? undefined : 10 * 60_000),
  chromium,
  // With nothing in any cache the builds take half an hour of two cores: that is for --full, like real nodes.
  kubernetes: async () => {
    if (!process.env.PERDURE_FULL) return kubernetes({ limitMs: 10 * 60_000, node: false })
    if (process.getuid?.() === 0 && !existsSync('/usr/lib/cni/bridge')) {
      await aptInstall('containernetworking-plugins', 'containerd', 'runc', 'iproute2')
    }
    return kubernetes()
  },
  s3,
  helm,
  promtool: async () => {
    if (!findExecutable('promtool')) await aptInstall('prometheus')
    return 'promtool on PATH'
  },
  java: async () => {
    await run('java', 'java', ['-version'], { limitMs: 60_000 })
    return 'java on PATH'
  },
}

async function provide(name) {
  const began = performance.now()
  try {
    const what = await tools[name]()
    console.error(`  ${name}: ${what} (${Math.round((performance.now() - began) / 1_000)} s)`)
    return name
  } catch (error) {
    console.error(`  ${name}: NOT PROVIDED, ${error.message}`)
    return undefined
  }
}

const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !Object.hasOwn(tools, name))
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(', ')}; known: ${Object.keys(tools).join(', ')}`)
  process.exit(1)
}
const names = asked.length > 0 ? asked : neededByTests(root, Object.keys(tools))
console.error(
  names.length > 0 ? `Providing ${names.join(', ')} …` : 'No test needs more than npm and Temporal.',
)
const provided = await Promise.all(names.map(provide))
console.log(provided.filter((name) => name !== undefined).join(','))
