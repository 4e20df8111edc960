/* Definitions, imports and references of small files in every language that has a query. What is
 * expected was written by hand beside each source; signatures show neither bodies nor strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/tags.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

struct sample {
    const char *path, *source;
    const char *definitions; /* LINE KIND NAME | SIGNATURE, by lines */
    const char *imports;     /* MODULE [NAME] [> when it is handed on], by lines */
    const char *references;  /* NAME*COUNT, in the order of their bytes */
};

static const struct sample samples[] = {
    {"a.c",
     "#include <stdio.h>\n"
     "#include \"base/text.h\"\n"
     "#define API_KEY \"sk-secret\"\n"
     "#define MAX(a, b) ((a) > (b) ? (a) : (b))\n"
     "struct point {\n"
     "    int x, y;\n"
     "};\n"
     "typedef int (*compare)(const void *, const void *);\n"
     "typedef void *(*allocate)(size_t); typedef int visit(int); typedef int(walk)(int);\n"
     "enum color { RED, GREEN = 2 };\n"
     "static const char *const names[] = {\"a\"};\n"
     "char **split(const char *text,\n"
     "             char at);\n"
     "static int add(int a, int b)\n"
     "{\n"
     "    return MAX(a, add(x_of(a), b));\n"
     "}\n"
     "#define TWICE(a) \\\n"
     "    ((a) * 2)\n",
     "3 macro API_KEY | #define API_KEY\n"
     "4 macro MAX | #define MAX(a, b)\n"
     "5 struct point | struct point\n"
     "8 type compare | typedef int (*compare)(const void *, const void *)\n"
     "9 type allocate | typedef void *(*allocate)(size_t)\n"
     "9 type visit | typedef int visit(int)\n"
     "9 type walk | typedef int(walk)(int)\n"
     "10 enum color | enum color\n"
     "10 constant RED | RED\n"
     "10 constant GREEN | GREEN\n"
     "11 variable names | static const char *const names[]\n"
     "12 prototype split | char **split(const char *text, char at)\n"
     "14 function add | static int add(int a, int b)\n"
     "18 macro TWICE | #define TWICE(a)\n",
     "stdio.h\nbase/text.h\n", "MAX*1 a*5 add*1 at*1 b*3 text*1 x*1 x_of*1 y*1 "},
    {"a.py",
     "import os.path, sys as system\n"
     "from .models import User, Group as G\n"
     "from helpers import *\n"
     "TOKEN = \"sk-secret\"\n"
     "@decorator\n"
     "def top(a, b=\"password\", *, c: int = 3) -> str:\n"
     "    def inner():\n"
     "        return User(a)\n"
     "    return inner()\n"
     "class Shape(Base):\n"
     "    sides: int = 0\n"
     "    @property\n"
     "    def area(self):\n"
     "        return self.sides\n",
     "4 variable TOKEN | TOKEN\n"
     "6 function top | def top(a, b=\"\", *, c: int = 3) -> str\n"
     "7 local inner | def inner()\n"
     "10 class Shape | class Shape(Base)\n"
     "11 field sides | sides: int\n"
     "13 method area | def area(self)\n",
     "os.path\nsys\n.models User\n.models Group\nhelpers\n",
     "Base*1 G*1 Group*1 User*2 a*2 b*1 c*1 decorator*1 helpers*1 inner*1 int*2 models*1 os*1 "
     "path*1 property*1 self*2 sides*1 str*1 sys*1 system*1 "},
    {"a.mjs",
     "import def, { readFile as read } from \"node:fs\";\n"
     "const path = require(\"path\"), other = load(\"nothing\");\n"
     "export { x } from './x.js';\n"
     "module.exports = require('./lib/all');\n"
     "export const limit = 3;\n"
     "const handler = async (request, reply) => reply.send(limit);\n"
     "export function start(port = 80) { return handler(port); }\n"
     "class Server extends Base {\n"
     "  #secret = 1;\n"
     "  listen() { return this.#secret; }\n"
     "}\n"
     "exports.stop = function (now) { start(now); };\n",
     "2 constant path | const path\n"
     "2 constant other | const other\n"
     "5 constant limit | const limit\n"
     "6 function handler | const handler = async (request, reply) =>\n"
     "7 function start | function start(port = 80)\n"
     "8 class Server | class Server extends Base\n"
     "10 method listen | listen()\n"
     "12 function stop | exports.stop = function (now)\n",
     "node:fs\nnode:fs readFile\nnode:fs def\npath\n./x.js >\n./lib/all >\n",
     "#secret*2 Base*1 def*1 exports*2 handler*1 limit*1 load*1 module*1 now*2 port*2 read*1 "
     "readFile*1 reply*2 request*1 require*2 send*1 start*1 x*1 "},
    {"a.ts",
     "import type { Plugin } from \"./plugin\";\n"
     "export interface Shape { area(): number; name: string }\n"
     "export type Id = string | number; export * from \"./more\";\n"
     "enum Kind { A, B = 4 }\n"
     "namespace Inner { export const deep = 1; }\n"
     "abstract class Base<T> { abstract run(x: T): void; count = 0; }\n"
     "export const make = (id: Id): Shape => create<Shape>(id);\n"
     "declare function outside(a: Kind): void;\n",
     "2 interface Shape | interface Shape\n"
     "2 method area | area(): number\n"
     "2 field name | name: string\n"
     "3 type Id | type Id = string | number\n"
     "4 enum Kind | enum Kind\n"
     "4 constant A | A\n"
     "4 constant B | B\n"
     "5 namespace Inner | namespace Inner\n"
     "5 constant deep | const deep\n"
     "6 class Base | abstract class Base<T>\n"
     "6 method run | abstract run(x: T): void\n"
     "6 field count | count\n"
     "7 function make | const make = (id: Id): Shape =>\n"
     "8 prototype outside | function outside(a: Kind): void\n",
     "./plugin\n./plugin Plugin\n./more >\n",
     "Id*1 Kind*1 Plugin*1 Shape*2 T*2 a*1 create*1 id*2 x*1 "},
    {"a.tsx",
     "import React from \"react\";\n"
     "export function Button(props: Props) { return <b>{props.text}</b>; }\n",
     "2 function Button | function Button(props: Props)\n", "react\nreact React\n",
     "Props*1 React*1 b*2 props*2 text*1 "},
    {"a.go",
     "package main\n"
     "import (\n"
     "\t\"fmt\"\n"
     "\tstr \"strings\"\n"
     ")\n"
     "type Point struct{ X, Y int }\n"
     "type Shape interface{ Area() float64 }\n"
     "type ID string\n"
     "const Limit = 3\n"
     "var (\n"
     "\tcounter, other = 1, \"secret\"\n"
     ")\n"
     "func (p *Point) Move(dx int) error { return nil }\n"
     "func run() { fmt.Println(str.ToUpper(\"x\"), Limit, counter) }\n",
     "6 struct Point | type Point struct{ X, Y int }\n"
     "7 interface Shape | type Shape interface{ Area() float64 }\n"
     "7 method Area | Area() float64\n"
     "8 type ID | type ID string\n"
     "9 constant Limit | const Limit\n"
     "11 variable counter | counter, other\n"
     "11 variable other | counter, other\n"
     "13 method Move | func (p *Point) Move(dx int) error\n"
     "14 function run | func run()\n",
     "fmt\nstrings\n",
     "Limit*1 Point*1 Println*1 ToUpper*1 X*1 Y*1 counter*1 dx*1 error*1 float64*1 fmt*1 int*2 "
     "main*1 p*1 str*2 string*1 "},
    {"a.rs",
     "use std::fmt::{Debug, Write}; pub use inner::helper;\n"
     "mod inner { pub fn helper() {} }\n"
     "pub struct Point<'a> { x: &'a str }\n"
     "enum Kind { Small, Large(u8) }\n"
     "trait Shape { fn area(&self) -> f64; fn twice(&self) -> f64 { self.area() * 2.0 } }\n"
     "impl<'a> Shape for Point<'a> { fn area(&self) -> f64 { 1.0 } }\n"
     "const LIMIT: usize = 3;\n"
     "static NAME: &str = \"secret\";\n"
     "type Map = Tree<Kind>;\n"
     "pub fn main() { println!(\"{}\", LIMIT); }\n",
     "2 module inner | mod inner\n"
     "2 function helper | pub fn helper()\n"
     "3 struct Point | pub struct Point<'a>\n"
     "4 enum Kind | enum Kind\n"
     "4 constant Small | Small\n"
     "4 constant Large | Large\n"
     "5 interface Shape | trait Shape\n"
     "5 prototype area | fn area(&self) -> f64\n"
     "5 method twice | fn twice(&self) -> f64\n"
     "6 method area | fn area(&self) -> f64\n"
     "7 constant LIMIT | const LIMIT: usize\n"
     "8 variable NAME | static NAME: &str\n"
     "9 type Map | type Map = Tree<Kind>\n"
     "10 function main | pub fn main()\n",
     "std::fmt::{Debug, Write}\ninner::helper >\n",
     "Debug*1 Kind*1 LIMIT*1 Point*1 Shape*1 Tree*1 Write*1 a*4 area*1 fmt*1 helper*1 inner*1 "
     "println*1 std*1 "
     "x*1 "},
    {"A.java",
     "import java.util.List;\n"
     "public class A<T> extends Base {\n"
     "    private static final String KEY = \"secret\";\n"
     "    public A(int x) { this.x = x; }\n"
     "    @Override\n"
     "    public int area(List<T> items) { return items.size(); }\n"
     "    enum Kind { ONE, TWO }\n"
     "    interface Inner { void run(); }\n"
     "    record Pair(int a) {}\n"
     "}\n"
     "@interface Mark { boolean on() default true; }\n",
     "2 class A | public class A<T> extends Base\n"
     "3 field KEY | private static final String KEY\n"
     "4 method A | public A(int x)\n"
     "6 method area | @Override public int area(List<T> items)\n"
     "7 enum Kind | enum Kind\n"
     "7 constant ONE | ONE\n"
     "7 constant TWO | TWO\n"
     "8 interface Inner | interface Inner\n"
     "8 method run | void run()\n"
     "9 class Pair | record Pair(int a)\n"
     "11 interface Mark | @interface Mark\n"
     "11 method on | boolean on() default\n",
     "java.util.List\n",
     "Base*1 List*2 Override*1 String*1 T*2 a*1 items*2 java*1 size*1 util*1 x*3 "},
    {"exported.cpp",
     "class LIB_API Shape final : public Base {\n"
     "    struct EXPORT_2 inner { int a; };\n"
     "};\n"
     "class QT_EXPORT\n"
     "Wide {};\n"
     "struct STAT now;\n"
     "struct STAT make(void) { return now; }\n"
     "class LIB_API A::B { int c; };\n",
     "1 class Shape | class LIB_API Shape final : public Base\n"
     "2 struct inner | struct EXPORT_2 inner\n"
     "2 field a | int a\n"
     "5 class Wide | class QT_EXPORT Wide\n"
     "6 variable now | struct STAT now\n"
     "7 function make | struct STAT make(void)\n"
     "8 class B | class LIB_API A::B\n"
     "8 field c | int c\n",
     "", "A*1 Base*1 STAT*2 now*1 "},
    {"api.h",
     "API_EXPORT int api_open(struct api *a);\n"
     "void API_CALL api_close(void) {}\n"
     "BOOL api_is(void);\n"
     "DWORD WINAPI api_run(LPVOID x) { return x; }\n"
     "struct api {\n"
     "    API_FIELDS\n"
     "    API_MORE\n"
     "    int fd;\n"
     "};\n"
     "API_TYPES\n"
     "enum kind {\n"
     "    KIND_ONLY\n"
     "};\n"
     "enum size { SMALL,\n"
     "    SIZE_LAST\n"
     "};\n"
     "UINT_PTR\n"
     "api_old(void) { return 0; }\n"
     "int api_last(int a) API_NOTHROW { return a; }\n",
     "1 prototype api_open | int api_open(struct api *a)\n"
     "2 function api_close | void API_CALL api_close(void)\n"
     "3 prototype api_is | BOOL api_is(void)\n"
     "4 function api_run | DWORD WINAPI api_run(LPVOID x)\n"
     "5 struct api | struct api\n"
     "11 enum kind | enum kind\n"
     "12 constant KIND_ONLY | KIND_ONLY\n"
     "14 enum size | enum size\n"
     "14 constant SMALL | SMALL\n"
     "15 constant SIZE_LAST | SIZE_LAST\n"
     "18 function api_old | UINT_PTR api_old(void)\n"
     "19 function api_last | int api_last(int a) API_NOTHROW\n",
     "", "BOOL*1 DWORD*1 LPVOID*1 UINT_PTR*1 a*3 api*1 fd*1 x*2 "},
    {"inlined.cpp",
     "#pragma once\n"
     "LIB_BEGIN\n"
     "namespace lib {}\n"
     "LIB_INLINE void first() {}\n"
     "LIB_INLINE geo::Shape::Shape(int n) : sides(n) {}\n"
     "LIB_INLINE geo::Shape::~Shape() LIB_NOTHROW {}\n"
     "BOOL Shape::is() { return 1; }\n"
     "class A {\n"
     "    LIB_CONSTEXPR A(int n) noexcept : n_(n) {}\n"
     "    explicit LIB_CONSTEXPR A(char c) {}\n"
     "    LIB_BOTH\n"
     "    A() {}\n"
     "    int get() const LIB_NOTHROW {\n"
     "        LIB_TRY { return 1; }\n"
     "    }\n"
     "};\n"
     "template <class T> void LIB_INLINE a::b::C<T>::put(T t) {}\n"
     "static LIB_INLINE a::b<int, T *> made(int n) { return n; }\n"
     "int both(int a) { return MAX_OF * made(a); }\n",
     "3 module lib | namespace lib\n"
     "4 function first | void first()\n"
     "5 method Shape | geo::Shape::Shape(int n) : sides(n)\n"
     "6 method ~Shape | geo::Shape::~Shape() LIB_NOTHROW\n"
     "7 method is | BOOL Shape::is()\n"
     "8 class A | class A\n"
     "9 method A | A(int n) noexcept : n_(n)\n"
     "10 method A | explicit LIB_CONSTEXPR A(char c)\n"
     "12 method A | A()\n"
     "13 method get | int get() const LIB_NOTHROW\n"
     "17 method put | void LIB_INLINE a::b::C<T>::put(T t)\n"
     "18 function made | static LIB_INLINE a::b<int, T *> made(int n)\n"
     "19 function both | int both(int a)\n",
     "", "BOOL*1 C*1 MAX_OF*1 Shape*4 T*4 a*4 b*2 c*1 geo*2 made*1 n*6 n_*1 sides*1 t*1 "},
    {"a.cpp",
     "#include <vector>\n"
     "#include \"base/shape.hpp\"\n"
     "using std::string;\n"
     "namespace geo {\n"
     "class Shape : public Base {\n"
     "public:\n"
     "    Shape(int n) : sides(n) {}\n"
     "    virtual ~Shape();\n"
     "    virtual double area() const = 0;\n"
     "    const std::string &name() const { return name_; }\n"
     "    bool operator==(const Shape &o) const;\n"
     "private:\n"
     "    int sides = 3;\n"
     "    std::string name_;\n"
     "};\n"
     "template <typename T> struct Box { T *value; };\n"
     "enum class Color { Red, Green = 2 };\n"
     "using Shapes = std::vector<Shape>;\n"
     "template <typename T> T largest(const T &a, T b) { return a; }\n"
     "}\n"
     "geo::Shape::~Shape() {}\n"
     "double *geo::Shape::data(int at) { return nullptr; }\n"
     "static const char *token = \"secret\";\n"
     "int main() { return 0; }\n",
     "4 module geo | namespace geo\n"
     "5 class Shape | class Shape : public Base\n"
     "7 method Shape | Shape(int n) : sides(n)\n"
     "8 method ~Shape | virtual ~Shape()\n"
     "9 method area | virtual double area() const = 0\n"
     "10 method name | const std::string &name() const\n"
     "11 method operator== | bool operator==(const Shape &o) const\n"
     "13 field sides | int sides\n"
     "14 field name_ | std::string name_\n"
     "16 struct Box | struct Box\n"
     "16 field value | T *value\n"
     "17 enum Color | enum class Color\n"
     "17 constant Red | Red\n"
     "17 constant Green | Green\n"
     "18 type Shapes | using Shapes = std::vector<Shape>\n"
     "19 function largest | T largest(const T &a, T b)\n"
     "21 method ~Shape | geo::Shape::~Shape()\n"
     "22 method data | double *geo::Shape::data(int at)\n"
     "23 variable token | static const char *token\n"
     "24 function main | int main()\n",
     "vector\nbase/shape.hpp\nstd::string\n",
     "Base*1 Shape*6 T*6 a*2 at*1 b*1 geo*2 n*2 name_*1 o*1 sides*1 std*4 string*3 vector*1 "},
    {"a.cu",
     "#include <cuda_runtime.h>\n"
     "__global__ void add(float *a, int n) { a[threadIdx.x] += n; }\n"
     "void run(float *a) { add<<<1, 32>>>(a, 3); }\n",
     "2 function add | __global__ void add(float *a, int n)\n"
     "3 function run | void run(float *a)\n",
     "cuda_runtime.h\n", "a*4 add*1 n*2 threadIdx*1 x*1 "},
    {"a.cs",
     "using System;\n"
     "using System.Collections.Generic;\n"
     "namespace Shop.Cart {\n"
     "    public interface IShape { double Area(); }\n"
     "    public class Circle : Shape, IShape {\n"
     "        private const string Key = \"secret\";\n"
     "        public double Radius { get; set; }\n"
     "        public Circle(double r) { Radius = r; }\n"
     "        public double Area() => Math.PI * Radius;\n"
     "    }\n"
     "    enum Kind { A, B = 4 }\n"
     "    record Pair(int X, int Y);\n"
     "    struct Point { public int X; }\n"
     "    delegate void Changed(object sender);\n"
     "}\n",
     "3 module Shop.Cart | namespace Shop.Cart\n"
     "4 interface IShape | public interface IShape\n"
     "4 method Area | double Area()\n"
     "5 class Circle | public class Circle : Shape, IShape\n"
     "6 field Key | private const string Key\n"
     "7 property Radius | public double Radius\n"
     "8 method Circle | public Circle(double r)\n"
     "9 method Area | public double Area()\n"
     "11 enum Kind | enum Kind\n"
     "11 constant A | A\n"
     "11 constant B | B\n"
     "12 class Pair | record Pair(int X, int Y)\n"
     "13 struct Point | struct Point\n"
     "13 field X | public int X\n"
     "14 type Changed | delegate void Changed(object sender)\n",
     "System\nSystem.Collections.Generic\n",
     "Cart*1 Collections*1 Generic*1 IShape*1 Math*1 PI*1 Radius*2 Shape*1 System*2 X*1 Y*1 "
     "r*2 sender*1 "},
    {"a.rb",
     "require \"json\"\n"
     "require_relative 'lib/shape'\n"
     "module Geo\n"
     "  LIMIT = \"secret\"\n"
     "  class Circle < Shape\n"
     "    attr_reader :radius, :name\n"
     "    def initialize(radius, name: \"x\")\n"
     "      @radius = radius\n"
     "    end\n"
     "    def self.unit\n"
     "      new(1)\n"
     "    end\n"
     "  end\n"
     "end\n"
     "def main(argv) = puts(Geo::Circle.unit)\n",
     "3 module Geo | module Geo\n"
     "4 constant LIMIT | LIMIT\n"
     "5 class Circle | class Circle < Shape\n"
     "6 property radius | attr_reader :radius, :name\n"
     "6 property name | attr_reader :radius, :name\n"
     "7 method initialize | def initialize(radius, name: \"\")\n"
     "10 method unit | def self.unit\n"
     "15 function main | def main(argv)\n",
     "json\nlib/shape\n",
     "Circle*1 Geo*1 Shape*1 argv*1 attr_reader*1 name*1 new*1 puts*1 radius*2 require*1 "
     "require_relative*1 unit*1 "},
    {"a.php",
     "<?php\n"
     "namespace App\\Shop;\n"
     "use App\\Base\\Model;\n"
     "require_once 'lib/util.php';\n"
     "const LIMIT = 'secret';\n"
     "interface HasArea { public function area(): float; }\n"
     "final class Circle extends Model implements HasArea {\n"
     "    private const KEY = 'secret';\n"
     "    public ?float $radius = 1.0;\n"
     "    public function area(): float { return self::KEY * $this->radius; }\n"
     "}\n"
     "enum Suit { case Hearts; }\n"
     "function make(float $r = 2): Circle { return new Circle($r); }\n",
     "2 module App\\Shop | namespace App\\Shop\n"
     "5 constant LIMIT | const LIMIT\n"
     "6 interface HasArea | interface HasArea\n"
     "6 method area | public function area(): float\n"
     "7 class Circle | final class Circle extends Model implements HasArea\n"
     "8 constant KEY | private const KEY\n"
     "9 field radius | public ?float $radius\n"
     "10 method area | public function area(): float\n"
     "12 enum Suit | enum Suit\n"
     "12 constant Hearts | case Hearts\n"
     "13 function make | function make(float $r = 2): Circle\n",
     "App\\Base\\Model\nlib/util.php\n",
     "App*1 Base*1 Circle*2 HasArea*1 KEY*1 Model*2 Shop*1 r*2 radius*1 this*1 "},
    {"a.lua",
     "local json = require(\"dkjson\")\n"
     "local M = {}\n"
     "local function private(a) return a end\n"
     "function M.open(path, mode) return private(path) end\n"
     "function M:close() return 1 end\n"
     "M.read = function(n) return n end\n"
     "local t = { each = function(f) f() end }\n"
     "print(\"nothing\")\n",
     "1 variable json | local json\n"
     "2 variable M | local M\n"
     "3 function private | local function private(a)\n"
     "4 function open | function M.open(path, mode)\n"
     "5 method close | function M:close()\n"
     "6 function read | M.read = function(n)\n"
     "7 variable t | local t\n"
     "7 function each | each = function(f)\n",
     "dkjson\n", "M*3 a*2 f*2 mode*1 n*2 path*2 print*1 private*1 require*1 "},
    {"a.sh",
     ". ./common.sh\n"
     "source \"lib/x.sh\"\n"
     "NAME=secret\n"
     "export TARGET=1\n"
     "build() { make \"$TARGET\"; }\n"
     "function clean { rm -f \"$NAME\"; build; }\n",
     "3 variable NAME | NAME\n"
     "4 variable TARGET | TARGET\n"
     "5 function build | build()\n"
     "6 function clean | function clean\n",
     "./common.sh\nlib/x.sh\n", ".*1 NAME*1 TARGET*1 build*1 make*1 rm*1 source*1 "},
};

static const struct language *language_of(const char *path)
{
    return language_find(TEXT(""), text_of(path));
}

static void put_tags(const struct tags *t, buffer out[3])
{
    for (size_t i = 0; i < t->n_definitions; i++) {
        const struct tag *d = &t->definitions[i];
        buffer_print(&out[0], "%u %s %.*s | %.*s\n", d->line, d->kind, (int)d->name.size,
                     d->name.bytes, (int)d->signature.size, d->signature.bytes);
    }
    for (size_t i = 0; i < t->n_imports; i++) {
        text module = t->imports[i].module, name = t->imports[i].name;
        buffer_print(&out[1], "%.*s%s%.*s%s\n", (int)module.size, module.bytes,
                     name.size ? " " : "", (int)name.size, name.bytes,
                     t->imports[i].onward ? " >" : "");
    }
    for (size_t i = 0; i < t->n_references; i++)
        buffer_print(&out[2], "%.*s*%u ", (int)t->references[i].name.size,
                     t->references[i].name.bytes, t->references[i].count);
}

static void test_samples(void **state)
{
    (void)state;
    tagger *t;
    error err = {0};
    assert_int_equal(tagger_open(&t, &err), OK);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const struct sample *s = &samples[i];
        struct tags tags;
        buffer out[3] = {{0}, {0}, {0}};
        status code = tags_read(&tags, t, language_of(s->path), text_of(s->source), &err);
        if (code != OK) print_error("%s: %s\n", s->path, err.message);
        assert_int_equal(code, OK);
        put_tags(&tags, out);
        assert_string_equal(out[0].bytes, s->definitions);
        assert_string_equal(out[1].bytes ? out[1].bytes : "", s->imports);
        assert_string_equal(out[2].bytes, s->references);
        for (size_t k = 0; k < 3; k++) buffer_free(&out[k]);
        tags_free(&tags);
    }
    tagger_close(t);
}

/* However many names one import takes. */
static void test_imports_of_many_names(void **state)
{
    (void)state;
    static const char *const paths[] = {"a.ts", "a.tsx", "a.js"};
    tagger *t;
    buffer source = {0};
    assert_int_equal(tagger_open(&t, NULL), OK);
    buffer_print(&source, "import {\n");
    for (int i = 0; i < 600; i++) buffer_print(&source, "    name%d as own%d,\n", i, i);
    buffer_print(&source, "} from './names';\n");
    for (size_t i = 0; i < 3; i++) {
        struct tags tags;
        bool seen[600] = {false};
        int n = 0;
        assert_int_equal(tags_read(&tags, t, language_of(paths[i]), buffer_text(&source), NULL),
                         OK);
        for (size_t k = 0; k < tags.n_imports; k++) {
            assert_true(text_is(tags.imports[k].module, "./names"));
            text name = tags.imports[k].name;
            int number = name.size > 4 ? atoi(name.bytes + 4) : -1;
            if (number >= 0 && number < 600 && !seen[number]) n += seen[number] = true;
        }
        assert_int_equal(n, 600);
        tags_free(&tags);
    }
    buffer_free(&source);
    tagger_close(t);
}

/* "1 function name | signature" becomes "1 function name | ". */
static void without_signatures(buffer *out, text definitions)
{
    text line;
    while (text_next_line(&definitions, &line)) {
        buffer_put_text(out, text_slice(line, 0, text_find(line, TEXT("| "), 0) + 2));
        buffer_put_char(out, '\n');
    }
}

/* Of every sample the same names and imports, parsed here or elsewhere. */
static void test_outlines(void **state)
{
    (void)state;
    tagger *t;
    error err = {0};
    assert_int_equal(tagger_open(&t, &err), OK);
    for (size_t i = 0; i < 2 * (sizeof samples / sizeof *samples); i++) {
        const struct sample *s = &samples[i / 2];
        struct tags tags;
        syntax *tree = NULL;
        text source = text_of(s->source);
        buffer out[3] = {{0}, {0}, {0}}, expected = {0};
        if (i % 2) assert_int_equal(syntax_parse(&tree, language_of(s->path), source, &err), OK);
        assert_int_equal(
            tags_read_outline(&tags, t, language_of(s->path), source, tree, 0, source.size, &err),
            OK);
        put_tags(&tags, out);
        without_signatures(&expected, text_of(s->definitions));
        assert_string_equal(out[0].bytes, expected.bytes);
        assert_string_equal(out[1].bytes ? out[1].bytes : "", s->imports);
        assert_int_equal(tags.n_references, 0);
        for (size_t k = 0; k < 3; k++) buffer_free(&out[k]);
        buffer_free(&expected);
        tags_free(&tags);
        syntax_free(tree);
    }
    tagger_close(t);
}

/* Of some bytes of a text only what stands there. */
static void test_outline_of_a_part(void **state)
{
    (void)state;
    tagger *t;
    text source = TEXT("void first(void) {}\nvoid second(void) {}\nvoid third(void) {}\n");
    syntax *trees[2] = {NULL, NULL};
    assert_int_equal(tagger_open(&t, NULL), OK);
    assert_int_equal(syntax_parse(&trees[1], language_of("x.c"), source, NULL), OK);
    for (int i = 0; i < 2; i++) {
        struct tags tags;
        status code =
            tags_read_outline(&tags, t, language_of("x.c"), source, trees[i], 20, 40, NULL);
        assert_int_equal(code, OK);
        assert_int_equal(tags.n_definitions, 1);
        assert_true(text_is(tags.definitions[0].name, "second"));
        tags_free(&tags);
    }
    syntax_free(trees[1]);
    tagger_close(t);
}

/* Definitions are byte ranges: cut out of the text, they are the definitions. */
static void test_ranges(void **state)
{
    (void)state;
    tagger *t;
    struct tags tags;
    text source = TEXT("int a;\nint f(void) { return a; }\n/* é */ int g(void);\n");
    assert_int_equal(tagger_open(&t, NULL), OK);
    assert_int_equal(tags_read(&tags, t, language_of("x.c"), source, NULL), OK);
    assert_int_equal(tags.n_definitions, 3);
    const struct tag *f = &tags.definitions[1], *g = &tags.definitions[2];
    assert_true(text_is(text_slice(source, f->from, f->to), "int f(void) { return a; }"));
    assert_true(text_is(text_slice(source, g->from, g->to), "int g(void);"));
    tags_free(&tags);
    tagger_close(t);
}

static void test_hostile_contents(void **state)
{
    (void)state;
    tagger *t;
    struct tags tags;
    error err;
    buffer b = {0};
    assert_int_equal(tagger_open(&t, &err), OK);
    /* ill-formed names are left out, the rest is found */
    text bad = TEXT("int \xff\xfe(void) { }\nint good(void) { }\n\0int after(void) { }\n");
    assert_int_equal(tags_read(&tags, t, language_of("x.c"), bad, &err), OK);
    for (size_t i = 0; i < tags.n_definitions; i++)
        assert_int_equal(
            memchr(tags.definitions[i].name.bytes, 0xff, tags.definitions[i].name.size) != NULL, 0);
    tags_free(&tags);
    /* a million braces end in time or are given up, with a reason */
    for (size_t i = 0; i < 1000000; i++) buffer_put_char(&b, '{');
    status code = tags_read(&tags, t, language_of("x.c"), buffer_text(&b), &err);
    assert_true(code == OK || code == ERR_LIMIT);
    tags_free(&tags);
    /* so do lines of macros, of which each looks at what stands in front, and heads without end */
    static const char *const lines[] = {"AB_\n", "AB_C x y(\n", "a<\n"};
    for (size_t i = 0; i < 3; i++) {
        buffer_clear(&b);
        while (b.size < INDEX_FILE_MAX - 16) buffer_put(&b, lines[i], strlen(lines[i]));
        code = tags_read(&tags, t, language_of("x.cpp"), buffer_text(&b), &err);
        assert_true(code == OK || code == ERR_LIMIT);
        tags_free(&tags);
    }
    /* and the tagger still works */
    assert_int_equal(tags_read(&tags, t, language_of("x.c"), TEXT("int a;"), &err), OK);
    assert_int_equal(tags.n_definitions, 1);
    tags_free(&tags);
    while (b.size <= INDEX_FILE_MAX) buffer_put_char(&b, ' ');
    assert_int_equal(tags_read(&tags, t, language_of("x.c"), buffer_text(&b), &err), ERR_LIMIT);
    tags_free(&tags);
    assert_int_equal(tags_read(&tags, t, language_of("x.md"), TEXT("# x"), &err), ERR_UNSUPPORTED);
    tags_free(&tags);
    buffer_free(&b);
    tagger_close(t);
}

static void test_words(void **state)
{
    (void)state;
    struct tags tags;
    buffer out[3] = {{0}, {0}, {0}};
    text source = TEXT("name: été x 12 3d name my_2_names_in_one_word "
                       "AKIAIOSFODNN7EXAMPLE 0123456789abcdef0123 \xff");
    assert_int_equal(tags_read_words(&tags, source, NULL), OK);
    put_tags(&tags, out);
    assert_string_equal(out[2].bytes, "my_2_names_in_one_word*1 name*2 été*1 ");
    buffer_free(&out[2]);
    tags_free(&tags);
    assert_int_equal(tags_read_words(&tags, TEXT(""), NULL), OK);
    assert_int_equal(tags.n_references, 0);
    tags_free(&tags);
}

static void test_no_memory(void **state)
{
    (void)state;
    tagger *t;
    struct tags tags;
    assert_int_equal(tagger_open(&t, NULL), OK);
    for (int64_t n = 1, failed = 1; failed; n++) {
        memory_fail_at(n);
        status code = tags_read(&tags, t, language_of("a.c"), text_of(samples[0].source), NULL);
        memory_fail_at(0);
        tags_free(&tags);
        assert_true(code == OK || code == ERR_MEMORY);
        assert_true(n < 1000);
        failed = code != OK;
    }
    tagger_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),  cmocka_unit_test(test_imports_of_many_names),
        cmocka_unit_test(test_outlines), cmocka_unit_test(test_outline_of_a_part),
        cmocka_unit_test(test_ranges),   cmocka_unit_test(test_hostile_contents),
        cmocka_unit_test(test_words),    cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
