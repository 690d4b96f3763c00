/** The Docker engine that tests run against, with an image that comes from no registry. */
import { execFileSync } from 'node:child_process'
import { beforeAll, expect, test } from 'vitest'
import { docker, ensureBaseImage } from './support/docker.ts'

docker.describe('the Docker engine of the tests', () => {
  let image = ''
  beforeAll(async () => {
    image = await ensureBaseImage()
  }, 120_000)

  test('runs Node and a shell from an image made of files of this machine', () => {
    const program = 'console.log(process.version, require("node:fs").readdirSync("/app").length)'
    expect(run(image, '-e', program)).toBe(`${process.version} 0`)
    expect(run('--entrypoint', 'sh', image, '-c', 'id -u && pwd')).toBe('0\n/app')
  })

  test('runs a program as a user without rights on a read-only root', () => {
    const program =
      'try { require("node:fs").writeFileSync("/x", "") } catch (error) { console.log(error.code) }'
    expect(
      run('--read-only', '--cap-drop=ALL', '--user=1000:1000', '--network=none', image, '-e', program),
    ).toBe('EROFS')
  })

  function run(...args: string[]): string {
    return execFileSync('docker', ['run', '--rm', ...args], { encoding: 'utf8', timeout: 60_000 }).trim()
  }
})
