/** The door of the npm scripts: installs only what is missing, hands over, and keeps signals and exit codes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'

const root = join(import.meta.dirname, '..')

test('start runs dev/main.ts with its arguments and ends with its exit code', async () => {
  const copy = makeCopy({ 'dev/main.ts': 'console.log(process.argv.slice(2).join()); process.exitCode = 7' })
  const run = enter(copy, 'start', '--port', '0')
  expect(await run.ended).toEqual({ code: 7, signal: null })
  expect(run.stdout()).toBe('--port,0\n')
  expect(run.stderr()).toBe('')
})

test.each(['SIGINT', 'SIGTERM'] as const)(
  'a %s reaches the program once, and its own exit code is kept',
  async (signal) => {
    const program = `
    process.on('${signal}', () => { console.log('heard'); setTimeout(() => process.exit(3), 50) })
    setInterval(() => {}, 1000)
    console.log('up')`
    const run = enter(makeCopy({ 'cli/main.ts': program }), 'cli')
    await vi.waitFor(() => expect(run.stdout()).toBe('up\n'), { timeout: 20_000 })
    run.child.kill(signal)
    expect(await run.ended).toEqual({ code: 3, signal: null })
    expect(run.stdout()).toBe('up\nheard\n')
  },
)

test('where Node cannot hand its process over, a start is told when whoever began it is gone', async () => {
  const program = `
    const end = setInterval(() => {}, 1000)
    process.on('SIGTERM', () => { console.log('heard'); clearInterval(end) })
    console.log('up')`
  const copy = makeCopy({ 'dev/main.ts': program })
  const inTheWay = '--import=data:text/javascript,process.execve=undefined'
  const line = `"${process.execPath}" "${inTheWay}" "${join(copy, 'scripts/enter.mjs')}" start & wait`
  const shell = spawn('sh', ['-c', line])
  let output = ''
  shell.stdout.on('data', (chunk) => {
    output += chunk
  })
  const closed = once(shell.stdout, 'close')
  await vi.waitFor(() => expect(output).toBe('up\n'), { timeout: 20_000 })
  shell.kill('SIGKILL')
  await closed
  expect(output).toBe('up\nheard\n')
})

test('what is missing is installed first, with the locked versions and once for two starts', async () => {
  const copy = makeCopy({ 'dev/main.ts': 'console.log("ran")' })
  rmSync(join(copy, 'node_modules'), { recursive: true })
  const npm = fakeNpm(copy, 0)
  const runs = [enter(copy, 'start', { npm }), enter(copy, 'start', { npm })]
  for (const run of runs) expect(await run.ended, run.stderr()).toEqual({ code: 0, signal: null })
  expect(runs.map((run) => run.stdout())).toEqual(['ran\n', 'ran\n'])
  expect(readFileSync(join(copy, 'npm.log'), 'utf8')).toBe('ci --include=dev --no-audit --no-fund\n')
})

test('a package of another version is missing, one of another platform is not', async () => {
  const copy = makeCopy({ 'dev/main.ts': 'console.log("ran")' })
  const npm = fakeNpm(copy, 0)
  await enter(copy, 'start', { npm }).ended
  expect(() => readFileSync(join(copy, 'npm.log'))).toThrow('ENOENT')
  const list = join(copy, 'node_modules', '.package-lock.json')
  writeFileSync(list, readFileSync(list, 'utf8').replace('1.0.0', '1.0.1'))
  await enter(copy, 'start', { npm }).ended
  expect(readFileSync(join(copy, 'npm.log'), 'utf8')).toMatch(/^ci /)
})

test('an installation that fails ends the start with the reason of npm, without addresses', async () => {
  const copy = makeCopy({ 'dev/main.ts': 'console.log("ran")' })
  rmSync(join(copy, 'node_modules'), { recursive: true })
  const run = enter(copy, 'start', { npm: fakeNpm(copy, 1) })
  expect(await run.ended).toEqual({ code: 1, signal: null })
  expect(run.stdout()).toBe('')
  expect(run.stderr()).toContain('npm ci failed with exit code 1:\nnpm error request to … failed')
})

test('an unknown word is one line and exit code 1', async () => {
  const run = enter(makeCopy({}), 'serve')
  expect(await run.ended).toEqual({ code: 1, signal: null })
  expect(run.stderr()).toBe('say what to run: node scripts/enter.mjs start|test|bench|cli [arguments]\n')
})

test('the lock file names the packages of every platform, else npm ci refuses it', () => {
  const lock: { packages: Record<string, { optionalDependencies?: Record<string, string> }> } = JSON.parse(
    readFileSync(join(root, 'package-lock.json'), 'utf8'),
  )
  const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !lock.packages[`node_modules/${name}`] && !lock.packages[`${path}/node_modules/${name}`],
    ),
  )
  expect(missing).toEqual([])
})

const locked = {
  '': { name: 'copy' },
  'node_modules/one': { version: '1.0.0' },
  'node_modules/elsewhere': { version: '2.0.0', optional: true },
}
const present = { 'node_modules/one': locked['node_modules/one'] }

/** A working copy that holds the scripts and the given files, with everything installed. */
function makeCopy(files: Record<string, string>): string {
  const copy = mkdtempSync(join(tmpdir(), 'perdure-enter-'))
  onTestFinished(() => rmSync(copy, { recursive: true, force: true }))
  cpSync(join(root, 'scripts/enter.mjs'), join(copy, 'scripts/enter.mjs'))
  cpSync(join(root, 'scripts/install.mjs'), join(copy, 'scripts/install.mjs'))
  const all = {
    'package.json': JSON.stringify({ type: 'module' }),
    'package-lock.json': JSON.stringify({ packages: locked }),
    'node_modules/.package-lock.json': JSON.stringify({ packages: present }),
    ...files,
  }
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(copy, name)), { recursive: true })
    writeFileSync(join(copy, name), text)
  }
  return copy
}

/** An npm that notes its arguments and, when it succeeds, installs. */
function fakeNpm(copy: string, code: number): string {
  const folder = join(copy, 'bin')
  mkdirSync(folder)
  const list = JSON.stringify({ packages: present })
  const outcome =
    code === 0
      ? `mkdir -p node_modules && echo '${list}' > node_modules/.package-lock.json`
      : 'echo "npm error request to https://registry.example/one failed" >&2'
  writeFileSync(join(folder, 'npm'), `#!/bin/sh\necho "$@" >> npm.log\n${outcome}\nexit ${code}\n`, {
    mode: 0o755,
  })
  return folder
}

function enter(copy: string, mode: string, ...rest: (string | { npm: string })[]) {
  const args = rest.filter((part) => typeof part === 'string')
  const npm = rest.find((part) => typeof part === 'object')?.npm
  const env = { ...process.env, PATH: npm ? `${npm}:${process.env.PATH}` : process.env.PATH }
  const child = spawn(process.execPath, [join(copy, 'scripts/enter.mjs'), mode, ...args], { cwd: copy, env })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    output.stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    output.stderr += chunk
  })
  const ended = new Promise((done) => child.on('close', (code, signal) => done({ code, signal })))
  return { child, ended, stdout: () => output.stdout, stderr: () => output.stderr }
}
