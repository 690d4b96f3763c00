/** Addresses that users name: every range that is refused, in every spelling (prediction-agent specification, 10.3). */
import { describe, expect, test } from 'vitest'
import { makeAddressGuard } from '../platforms/guarded-address.ts'

const rules = { allowHttp: false, allowCidrs: [], allowPorts: [] }
const guard = makeAddressGuard(rules)

describe('refused', () => {
  test.each([
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.1',
    '10.255.255.255',
    '100.64.0.1',
    '100.127.255.255',
    '127.0.0.1',
    '127.9.9.9',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.168.1.1',
    '198.18.0.1',
    '198.19.255.255',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '[::]',
    '[::1]',
    '[::7f00:1]',
    '[fc00::1]',
    '[fdff::1]',
    '[fe80::1]',
    '[febf::1]',
    '[fec0::1]',
    '[ff02::1]',
    '[::ffff:8.8.8.8]',
    '[::ffff:7f00:1]',
    '[64:ff9b::808:808]',
    '[64:ff9b:1::1]',
    '[2002:7f00:1::]',
    '0177.0.0.1',
    '0x7f.0.0.1',
    '0x7f000001',
    '2130706433',
    '127.1',
    '10.1',
    '017700000001',
  ])('%s', (host) => {
    expect(guard.refusal(`https://${host}/`)).toBe('must be a public address')
  })
})

test.each(['8.8.8.8', '93.184.216.34', '100.63.255.255', '172.32.0.1', '[2606:4700::1111]'])(
  '%s is public and passes',
  (host) => {
    expect(guard.refusal(`https://${host}/`)).toBeUndefined()
  },
)

test('only https on 443 or 80 without user info passes, unless the settings say otherwise', () => {
  expect(guard.refusal('http://example.com/')).toBe('must start with https://')
  expect(guard.refusal('file:///etc/passwd')).toBe('must start with https://')
  expect(guard.refusal('https://u@example.com/')).toContain('user name')
  expect(guard.refusal('https://example.com:22/')).toContain('port')
  expect(guard.refusal('https://example.com:80/')).toBeUndefined()
  const open = makeAddressGuard({
    allowHttp: true,
    allowCidrs: ['10.1.0.0/16', 'fd00::/64'],
    allowPorts: [8080],
  })
  expect(open.refusal('http://10.1.2.3:8080/')).toBeUndefined()
  expect(open.refusal('http://[fd00::5]/')).toBeUndefined()
  expect(open.refusal('http://10.2.0.1/')).toBe('must be a public address')
})

test('a name is refused when any of its addresses is not public, at submission and at the connection', async () => {
  const addresses = [
    { address: '93.184.216.34', family: 4 },
    { address: '::ffff:10.0.0.1', family: 6 },
  ]
  const mixed = makeAddressGuard(rules, async () => addresses)
  expect(await mixed.refusalNow('https://mixed.test/')).toBe('must be a public address')
  const failure = await new Promise((resolve) => mixed.lookup('mixed.test', { all: true }, resolve))
  expect(failure).toMatchObject({ name: 'AddressRefused' })
  const unknown = makeAddressGuard(rules, async () => {
    throw new Error('ENOTFOUND')
  })
  expect(await unknown.refusalNow('https://not-yet.test/')).toBeUndefined()
})

test('localhost by name is refused', async () => {
  expect(await guard.refusalNow('https://localhost/')).toBe('must be a public address')
})

test('a range that cannot be read is named at once', () => {
  expect(() => makeAddressGuard({ ...rules, allowCidrs: ['10.0.0.0'] })).toThrow('WEBHOOK_ALLOW_CIDRS')
})
