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

const minutes = 60_000

/**
 * Built with Go one after another, in this order, each within its time: side by side on two cores the large ones take so
 * long that none is ready. Downloads and packages of the system come beside them.
 */
const buildLimitsMs = {
  'temporal-server': 15 * minutes,
  helm: 10 * minutes,
  compose: 10 * minutes,
  s3: 10 * minutes,
  kubernetes: 25 * minutes,
}
/** All builds together. What is not finished by then, the next run finishes. */
const allBuildsLimitMs = (process.env.PERDURE_FULL ? 90 : 30) * minutes

/** Each resolves with what is there, or rejects with the reason. Who builds is told how long it may. */
const tools = {
  docker: async () => {
    const { version } = await startEngine()
    return `engine ${version}, image ${await ensureBaseImage()}`
  },
  compose,
  python: async () => {
    const script = join(import.meta.dirname, 'python-venv.mjs')
    const sets = ['cog', 'mlserver', 'kserve', 'clients', 'replicate']
    await run('python', process.execPath, [script, ...sets], { limitMs: 20 * minutes })
    return `environments ${sets.join(', ')}`
  },
  postgres,
  'temporal-server': temporalServer,
  chromium,
  // Real nodes are for --full.
  kubernetes: async (limitMs) => {
    if (!process.env.PERDURE_FULL) return kubernetes({ limitMs, node: false })
    if (process.getuid?.() === 0 && !existsSync('/usr/lib/cni/bridge')) {
      await aptInstall('containernetworking-plugins', 'containerd', 'runc', 'iproute2')
    }
    return kubernetes({ limitMs })
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

async function provide(name, limitMs) {
  const since = performance.now()
  try {
    const what = await tools[name](limitMs)
    console.error(`  ${name}: ${what} (${Math.round((performance.now() - since) / 1_000)} s)`)
    return name
  } catch (error) {
    console.error(`  ${name}: NOT PROVIDED, ${error.message}`)
    return undefined
  }
}

async function provideInTurn(builds) {
  const untilMs = performance.now() + allBuildsLimitMs
  const provided = []
  for (const name of builds) {
    const leftMs = Math.max(0, untilMs - performance.now())
    provided.push(await provide(name, Math.min(buildLimitsMs[name], leftMs)))
  }
  return provided
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
const builds = Object.keys(buildLimitsMs).filter((name) => names.includes(name))
const others = names.filter((name) => !builds.includes(name))
const provided = await Promise.all([provideInTurn(builds), ...others.map((name) => provide(name))])
const there = provided.flat().filter((name) => name !== undefined)
console.log(there.join(','))
