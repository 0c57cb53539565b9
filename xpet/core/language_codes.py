"""Languages by code: ISO 639-1 and 639-3, BCP 47 (`zh-Hant`, `pt-BR`), and as FLORES and NLLB write it (`jpn_Jpan`)."""

from __future__ import annotations

from xpet.core.languages import normalise

CODES = """
aa=aar ab=abk af=afr ak=aka am=amh an=arg ar=ara=arb as=asm av=ava ay=aym=ayr az=aze=azj ba=bak be=bel bg=bul
bi=bis bm=bam bn=ben bo=bod=tib br=bre bs=bos ca=cat ce=che ch=cha co=cos cr=cre cs=ces=cze cu=chu cv=chv cy=cym=wel
da=dan de=deu=ger dv=div dz=dzo ee=ewe el=ell=gre en=eng eo=epo es=spa et=est=ekk eu=eus=baq fa=fas=per=pes=prs
ff=ful=fuv fi=fin fj=fij fo=fao fr=fra=fre fy=fry ga=gle gd=gla gl=glg gn=grn=gug gu=guj gv=glv ha=hau he=heb=iw
hi=hin ho=hmo hr=hrv ht=hat hu=hun hy=hye=arm hz=her ia=ina id=ind=in ie=ile ig=ibo ii=iii ik=ipk io=ido
is=isl=ice it=ita iu=iku ja=jpn jv=jav=jw ka=kat=geo kg=kon ki=kik kj=kua kk=kaz kl=kal km=khm kn=kan ko=kor
ks=kas ku=kur=kmr kv=kom kw=cor ky=kir la=lat lb=ltz lg=lug li=lim ln=lin lo=lao lt=lit lu=lub lv=lav=lvs
mg=mlg=plt mh=mah mi=mri=mao mk=mkd=mac ml=mal mn=mon=khk mr=mar ms=msa=may=zsm mt=mlt my=mya=bur na=nau nb=nob
nd=nde ne=nep=npi ng=ndo nl=nld=dut nn=nno no=nor nr=nbl nv=nav ny=nya oc=oci oj=oji om=orm=gaz or=ori=ory os=oss
pa=pan pl=pol ps=pus=pbt pt=por qu=que rm=roh rn=run ro=ron=rum=mo rw=kin ru=rus sa=san sc=srd sd=snd se=sme sg=sag
sh=hbs si=sin sk=slk=slo sl=slv sm=smo sn=sna so=som sq=sqi=alb=als sr=srp ss=ssw st=sot su=sun sv=swe sw=swa=swh
ta=tam te=tel tg=tgk th=tha ti=tir tk=tuk tl=tgl tn=tsn to=ton tr=tur ts=tso tt=tat tw=twi ty=tah ug=uig uk=ukr
ur=urd uz=uzb=uzn ve=ven vi=vie vo=vol wa=wln wo=wol xh=xho yi=yid=ydd yo=yor za=zha zh=zho=chi=cmn zu=zul
"""
"""The two letters of ISO 639-1, then the language's other codes: three letters, or two that are no longer in use.

Of a language with several members (Arabic, Chinese, Malay, ...) also the code of its standard form.
"""
_TWO = {other: two for two, *others in (codes.split("=") for codes in CODES.split()) for other in others}
"""Any other code -> the code of two letters."""


def base(language: str) -> str:
    """The language's code alone, of two letters where it has one: `de` for `deu_Latn`, `de-AT` and `ger`."""
    first = normalise(language).split("-")[0]
    return _TWO.get(first, first)


def script_subtag(language: str) -> str:
    """The script a code names, as ISO 15924 writes it: `Latn` of `sr-Latn` and `uz_Latn_UZ`; nothing of most codes."""
    return next((part.title() for part in _tags(language) if len(part) == 4 and part.isalpha()), "")


def region(language: str) -> str:
    """The region a code names, as ISO 3166 writes it: `BR` of `pt-BR`; nothing of most codes."""
    return next((part.upper() for part in _tags(language) if len(part) == 2 and part.isalpha()), "")


def _tags(language: str) -> list[str]:
    """The subtags behind the language, lower case, up to the first of one letter, which begins an extension."""
    tags = normalise(language).split("-")
    return tags[1 : next((index for index, tag in enumerate(tags) if len(tag) == 1), len(tags))]
