/**
 * The door of `npm start`, `npm test`, `npm run bench` and `npm run perdure`: installs what is missing and hands over
 * to the project's program under Node 24. Needs nothing but Node 20; holds no logic of the programs themselves.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, join } from 'node:path'
import { installed, installPackages, projectNode, projectRoot } from './install.mjs'

const neededMajor = 24

const programs = {
  start: ['dev/main.ts'],
  test: ['node_modules/vitest/vitest.mjs', 'run'],
  bench: ['bench/main.ts'],
  cli: ['cli/main.ts'],
}

// Short-lived objects are many and small: a small nursery costs little time and saves a hundred megabytes.
const nodeFlags = (name) => (name === 'start' ? ['--max-semi-space-size=8'] : [])

const [mode = '', ...args] = process.argv.slice(2)
const program = Object.hasOwn(programs, mode) ? programs[mode] : undefined
if (!program) fail(`say what to run: node scripts/enter.mjs ${Object.keys(programs).join('|')} [arguments]`)

if (!installed()) await installPackages((line) => console.error(line)).catch((error) => fail(error.message))
const node = Number(process.versions.node.split('.')[0]) >= neededMajor ? process.execPath : projectNode()
if (!existsSync(node)) {
  fail(
    `Perdure needs Node ${neededMajor} and found ${process.version}; the project's own copy is missing because the ` +
      'install script of the npm package "node" did not run: run `npm rebuild node --foreground-scripts`, ' +
      `or start with Node ${neededMajor}`,
  )
}
const env = withProjectBinaries(process.env)
if (mode === 'test') {
  const code = await run(node, ['scripts/temporal.ts'], 'ignore', (child, signal) =>
    process.kill(-child.pid, signal),
  )
  if (code !== 0) process.exit(code)
}
await become(node, [...nodeFlags(mode), join(projectRoot, program[0]), ...program.slice(1), ...args])

/** Replaces this process, so that signals, exit code and terminal belong to the program; older Nodes start a child. */
async function become(file, argv) {
  if (mode === 'test') process.chdir(projectRoot)
  if (typeof process.execve === 'function') {
    try {
      process.execve(file, [file, ...argv], env)
    } catch {
      // Not on this operating system: a child does.
    }
  }
  process.exit(await run(file, argv, 'inherit'))
}

/**
 * Runs a child in a process group of its own. A Ctrl-C in a terminal goes to a whole group and npm forwards it as well:
 * so the child hears of it once, from here. `tell` says whether its own children do, too: those of a build must.
 */
function run(file, argv, stdout, tell = (child, signal) => child.kill(signal)) {
  return new Promise((resolve) => {
    const options = { cwd: mode === 'test' ? projectRoot : process.cwd(), detached: true, env }
    const child = spawn(file, argv, { ...options, stdio: ['inherit', stdout, 'inherit'] })
    const passedOn = new Map()
    const forward = (signal) => {
      const now = performance.now()
      if (now - (passedOn.get(signal) ?? Number.NEGATIVE_INFINITY) < 1_000) return
      passedOn.set(signal, now)
      tell(child, signal)
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, forward)
    const { ppid } = process
    // An npm that is killed passes nothing on; dev/main.ts looks at its own parent, which is this process.
    const look = setInterval(() => {
      if (mode !== 'start' || process.ppid === ppid) return
      clearInterval(look)
      forward('SIGTERM')
    }, 500)
    child.on('error', (error) => fail(`${file} does not start: ${error.message}`))
    child.on('exit', (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)))
  })
}

/** Children that ask for `node`, `tsc` or `vitest` get the project's. */
function withProjectBinaries(parent) {
  const bin = join(projectRoot, 'node_modules', '.bin')
  const path = (parent.PATH ?? '').split(delimiter).filter((folder) => folder !== bin)
  // Types are stripped and modules compiled once, not at every start.
  const compiled = join(projectRoot, 'node_modules', '.cache', 'compiled')
  return { NODE_COMPILE_CACHE: compiled, ...parent, PATH: [bin, ...path].join(delimiter) }
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
