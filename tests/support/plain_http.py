"""Clients for servers that speak plain HTTP.

A new client of httpx reads all certificates that the machine trusts, which takes longer than the requests of a test.
"""

import ssl
from functools import partial

import httpx

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

get = partial(httpx.get, verify=_NO_CERTIFICATES)
post = partial(httpx.post, verify=_NO_CERTIFICATES)
client = partial(httpx.Client, verify=_NO_CERTIFICATES)
